import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.data.words import LETTERS, word_hashes


def spelled(text):
    """The words of a text, plainly: runs of letter bytes, and every character from Kana on begins one."""
    words, word = [], b""
    for byte in text.encode():
        small = int(LETTERS[byte])
        if word and (not small or small >= 0xE3):
            words.append(word)
            word = b""
        if small:
            word += bytes([small])
    return words + [word] * bool(word)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8))
def test_hashes_are_equal_exactly_where_words_are(texts):
    hashes, starts = word_hashes(texts)
    plain = [spelled(text) for text in texts]
    assert np.diff(starts).tolist() == [len(words) for words in plain]
    seen = {}
    for word, value in zip([word for words in plain for word in words], hashes.tolist(), strict=True):
        assert seen.setdefault(word, value) == value
    assert len(set(seen.values())) == len(seen)


def test_a_hash_does_not_depend_on_what_stands_around_it():
    alone = word_hashes(["nightingale"])[0][0]
    among = word_hashes(["x " * 999, "the NIGHTINGALE, sang", "y" * 5000])[0]
    assert alone in among


def test_the_powers_are_undone():
    long = word_hashes(["z " * (1 << 18) + "moon"])[0][-1]
    assert long == word_hashes(["moon"])[0][0]
