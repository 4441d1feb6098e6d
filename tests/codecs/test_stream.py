import pytest
from hypothesis import given
from hypothesis import strategies as st

from makar.codecs.stream import TextStream, byte_alphabet, token_bytes
from makar.core.errors import ModelError

BYTES = [bytes([value]) for value in range(256)]


def test_the_alphabet_is_the_one_of_the_tokenizers_library():
    from tokenizers import pre_tokenizers

    alphabet = byte_alphabet()
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(alphabet.values()) == list(range(256))
    for value in range(128):
        (token, _), *_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(chr(value))
        assert alphabet[token] == value


@given(st.binary(max_size=40))
def test_pieces_join_to_what_decoding_at_once_gives(data):
    stream = TextStream(BYTES)
    pieces = [stream.push(value) for value in data]
    assert "".join([*pieces, stream.flush()]) == data.decode("utf-8", "replace")


@given(st.text(max_size=20))
def test_a_character_comes_out_with_its_last_byte_and_whole(text):
    stream = TextStream(BYTES)
    for character in text:
        *early, last = [stream.push(value) for value in character.encode()]
        assert not any(early)
        assert last == character
    assert stream.flush() == ""


def test_a_text_that_stops_inside_a_character_ends_in_one_replacement():
    stream = TextStream(BYTES)
    assert [stream.push(value) for value in "🌙".encode()[:3]] == ["", "", ""]
    assert stream.flush() == "\ufffd"


def test_ids_past_the_vocabulary_stand_for_nothing():
    stream = TextStream([b"a"])
    assert [stream.push(token) for token in (0, 5, -1, 0)] == ["a", "", "", "a"]


def test_only_the_first_space_of_a_text_is_dropped():
    stream = TextStream([b"", b" the", b"  "], strip=True)
    assert [stream.push(token) for token in (0, 1, 1, 2)] == ["", "the", " the", "  "]


def test_an_added_token_stands_for_its_spelling_even_in_letters_of_the_alphabet():
    table, _ = token_bytes(["é", "Ã©", "Ġé", None], frozenset({"é"}), {"type": "ByteLevel"})
    assert table == ["é".encode(), "é".encode(), b" \xe9", b""]


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ModelError, match="byte-level BPE"):
        token_bytes(["a"], frozenset(), {"type": "WordPiece"})
    with pytest.raises(ModelError, match="byte-level BPE"):
        token_bytes(["a"], frozenset(), None)
