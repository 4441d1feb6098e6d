import hashlib
import json
import subprocess
import sys
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, processors

from makar.codecs.bpe import END, PAD, SMALLEST, SPECIAL, Bpe, cut, train_bpe
from makar.core.errors import InputError, ModelError, RecipeError
from makar.core.nouns import Codec

from .conftest import POEM

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=" \n\r\t'abZé1٣Ⅷ月🌙\u0301\u00a0\u200d\u2028.-<|>", max_size=60),
    st.lists(st.sampled_from([*SPECIAL, " the", "\n\n", "moon", "'LL", "\ufffd"]), max_size=8).map("".join),
)


@pytest.fixture(scope="module")
def folder(bpe, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    bpe.save(path)
    return path


@pytest.fixture(scope="module", params=["alone", "llama", "qwen3"])
def theirs(request, folder, tmp_path_factory):
    """The saved folder in transformers' hands: alone, and beside the config of a model."""
    import transformers

    path = tmp_path_factory.mktemp(request.param)
    Bpe.load(folder).save(path)
    if request.param != "alone":
        transformers.AutoConfig.for_model(request.param).save_pretrained(path)
    return transformers.AutoTokenizer.from_pretrained(path)


@FUZZ
@given(text=TEXTS)
def test_any_text_comes_back_exactly(bpe, text):
    assert bpe.text(bpe.ids(text)) == text
    assert bpe.text(bpe.ids(text, start=False), special=True) == text


@FUZZ
@given(text=TEXTS)
def test_transformers_gives_the_same_ids_and_text(bpe, theirs, text):
    ids = bpe.ids(text)
    assert theirs(text, split_special_tokens=True).input_ids == ids
    assert theirs(text, split_special_tokens=True, add_special_tokens=False).input_ids == bpe.ids(text, start=False)
    assert theirs(text, add_special_tokens=False).input_ids == bpe.template_ids(text)
    assert theirs.decode(ids, skip_special_tokens=True) == text


def test_transformers_knows_the_special_tokens(bpe, theirs):
    assert (theirs.bos_token, theirs.eos_token, theirs.pad_token) == (END, END, PAD)
    assert theirs.eos_token_id == bpe.end_id == 0
    assert theirs.pad_token_id == bpe.pad_id == 3
    assert len(theirs) == bpe.vocab_size
    assert set(theirs.all_special_ids) <= set(bpe.special.values())


@FUZZ
@given(text=TEXTS)
def test_user_data_never_becomes_a_special_token(bpe, text):
    assert bpe.ids(text)[0] == bpe.end_id
    for ids in (bpe.ids(text, start=False), bpe.batch_ids([text])[0][1:], bpe.plain_ids([text])[0]):
        assert not set(ids) & set(bpe.special.values())


def test_a_trusted_template_does(bpe):
    special = bpe.special
    ids = bpe.template_ids("<|im_start|>user\nhi<|im_end|>\n")
    assert ids == [
        special["<|im_start|>"],
        *bpe.ids("user\nhi", start=False),
        special["<|im_end|>"],
        *bpe.ids("\n", start=False),
    ]
    assert bpe.text(ids, special=True) == "<|im_start|>user\nhi<|im_end|>\n"
    assert bpe.text(ids) == "user\nhi\n"


def test_special_tokens_have_the_first_ids_in_every_vocabulary(bpe):
    assert [bpe.special[name] for name in SPECIAL] == list(range(16))
    small = train_bpe(["abc"], SMALLEST)
    assert small.special == bpe.special
    assert small.vocab_size == SMALLEST == 272


def test_the_vocabulary_is_as_large_as_asked_and_finds_the_common_words():
    bpe = train_bpe([POEM] * 4, 320)
    assert bpe.vocab_size == 320
    # The first merge is the most frequent pair inside the pieces of the split: counted here by hand.
    found = Tokenizer.from_str(bpe.source)
    pairs = Counter()
    for piece, _ in found.pre_tokenizer.pre_tokenize_str(POEM):
        pairs.update(zip(piece, piece[1:], strict=False))
    most = max(pairs.values())
    first = json.loads(bpe.source)["model"]["merges"][0]
    assert pairs[tuple(first)] == most


@pytest.mark.parametrize("text", ["12345", "3.14", "a1b22"])
def test_digits_stand_alone_as_in_qwen2(text):
    bpe = train_bpe([text] * 9, 500)
    assert sum(any(c.isdigit() for c in bpe.text([i])) for i in bpe.ids(text)) == sum(c.isdigit() for c in text)


def test_the_split_is_qwen2s():
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    from makar.codecs.bpe import PRE_TOKENIZER, SPLIT

    assert PRE_TOKENIZER == "qwen2"
    assert SPLIT == PRETOKENIZE_REGEX


def test_the_same_texts_give_the_same_file():
    assert len({train_bpe([POEM, POEM.upper()], 500).source for _ in range(4)}) == 1


@pytest.mark.slow
def test_the_same_texts_give_the_same_file_in_another_process(bpe, folder):
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from makar.codecs.bpe import train_bpe; from tests.codecs.conftest import POEM\n"
        "texts = [POEM, POEM.upper(), 'x = [1, 22]\\n\\n\\n    return <|im_end|> x\\r\\n'] * 3\n"
        "sys.stdout.buffer.write(train_bpe(texts, 600).source.encode())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stdout == (folder / "tokenizer.json").read_bytes() == bpe.source.encode()


def test_a_saved_folder_loads_as_the_same_tokenizer(bpe, folder, tmp_path):
    again = Bpe.load(folder)
    assert again.hash == bpe.hash
    assert again.settings == bpe.settings
    again.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (folder / file.name).read_bytes()


def test_the_hash_is_of_the_content_not_of_the_spelling(bpe):
    compact = json.dumps(json.loads(bpe.source))
    assert Bpe(compact, bpe.settings).hash == bpe.hash
    canonical = json.dumps(json.loads(bpe.source), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert bpe.hash == hashlib.sha256(canonical.encode()).hexdigest()
    assert train_bpe([POEM], 400).hash != bpe.hash


@FUZZ
@given(text=TEXTS, noise=st.lists(st.integers(0, 700), max_size=20))
def test_a_stream_joins_to_the_text_of_all_ids(bpe, text, noise):
    ids = [*bpe.ids(text), *noise]
    theirs = Tokenizer.from_str(bpe.source)
    for special in (False, True):
        stream = bpe.stream(special=special)
        pieces = [stream.push(token) for token in ids]
        whole = bpe.text(ids, special=special)
        assert "".join([*pieces, stream.flush()]) == whole
        known = [token for token in ids if token < bpe.vocab_size]
        assert whole == theirs.decode(known, skip_special_tokens=not special)


@FUZZ
@given(text=TEXTS)
def test_no_push_breaks_a_character_of_true_text(bpe, text):
    stream = bpe.stream()
    pieces = [stream.push(token) for token in bpe.ids(text)]
    assert sum(piece.count("\ufffd") for piece in pieces) == text.count("\ufffd")
    assert stream.flush() == ""


@FUZZ
@given(texts=st.lists(TEXTS, max_size=5))
def test_batches_are_documents_one_by_one(bpe, texts):
    assert bpe.batch_ids(texts) == [bpe.ids(text) for text in texts]


LINES = st.lists(
    st.one_of(
        st.text(max_size=6), st.sampled_from(["\n", " \n", "\n\n", "\r\n", "\u2028", ".\n", "'s\n", "a", "1", "月"])
    ),
    max_size=20,
).map("".join)


@FUZZ
@given(text=LINES, size=st.integers(1, 5))
def test_a_book_in_parts_has_the_ids_of_the_book(bpe, text, size):
    parts = cut(text, size)
    assert "".join(parts) == text
    assert all(len(part) >= size for part in parts[:-1])
    assert [token for part in parts for token in bpe.ids(part, start=False)] == bpe.ids(text, start=False)


def test_long_texts_are_encoded_in_parts(bpe, monkeypatch):
    monkeypatch.setattr("makar.codecs.bpe.PART_CHARACTERS", 20)
    monkeypatch.setattr("makar.codecs.bpe.cut", lambda text, size: seen.append(cut(text, size)) or seen[-1])
    seen = []
    assert bpe.plain_ids([POEM, "short", ""]) == [bpe.ids(text, start=False) for text in (POEM, "short", "")]
    assert [len(parts) for parts in seen] == [4, 1, 1]


@FUZZ
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_it_is_a_codec(bpe, texts):
    assert isinstance(bpe, Codec)
    batch = bpe.encode(texts)
    assert batch["tokens"].dtype == batch["lengths"].dtype == torch.int64
    assert bpe.decode(batch) == texts
    row, length = batch["tokens"][0], int(batch["lengths"][0])
    assert (row[length:] == bpe.pad_id).all()


@pytest.mark.slow
def test_every_code_point_comes_back_and_has_the_ids_of_transformers(bpe, theirs):
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    texts = ["".join(points[k : k + 64]) for k in range(0, len(points), 64)]
    texts += [f"a{point} {point}1" for point in points[: 2**16]]
    ids = bpe.batch_ids(texts)
    assert [bpe.text(row) for row in ids] == texts
    assert theirs(texts, split_special_tokens=True).input_ids == ids


def test_half_a_surrogate_pair_is_the_readers_to_mend(bpe):
    for call in (bpe.ids, lambda text: bpe.batch_ids(["fine", text]), lambda text: bpe.encode([text])):
        with pytest.raises(InputError, match="surrogate pair.*read it as UTF-8"):
            call("half \ud83c a pair")


def test_a_vocabulary_below_the_bytes_is_refused():
    with pytest.raises(RecipeError, match=r"too small \(got 271\); at least 272"):
        train_bpe(["abc"], 271)


@pytest.mark.parametrize("texts", [[], [""]])
def test_no_text_is_refused(texts):
    with pytest.raises(InputError, match="no text"):
        train_bpe(texts, 300)


def test_a_folder_without_or_with_a_broken_tokenizer_is_refused(bpe, tmp_path):
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        Bpe.load(tmp_path)
    for broken in (bpe.source[:900].encode(), b"{}", b"\xff\xfe"):
        (tmp_path / "tokenizer.json").write_bytes(broken)
        with pytest.raises(ModelError, match="not a tokenizer") as caught:
            Bpe.load(tmp_path)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "tokenizer.json").write_text(bpe.source)
    with pytest.raises(ModelError, match="eos_token"):
        Bpe.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match="not a tokenizer"):
        Bpe.load(tmp_path)


# Folders made elsewhere.


def foreign(bpe: Bpe, path, post_processor, **names):
    """A folder with other special tokens: the vocabulary is `bpe`'s, the names and the template are not."""
    data = json.loads(bpe.source)
    tokenizer = Tokenizer.from_str(json.dumps(data | {"post_processor": None}))
    tokenizer.post_processor = post_processor
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(names))
    return Bpe.load(path)


def test_a_llama_3_folder_opens_with_one_token_and_ends_with_another(bpe, tmp_path):
    template = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    names = {"bos_token": {"content": "<|im_start|>", "__type": "AddedToken"}, "eos_token": {"content": "<|im_end|>"}}
    llama = foreign(bpe, tmp_path, template, **names)
    words = bpe.ids(POEM, start=False)
    assert llama.ids(POEM) == [1, *words]  # the file's own truncation and padding are off
    assert llama.batch_ids([POEM]) == [[1, *words, 2]]
    assert llama.end_id == 2
    assert llama.pad_id == 2


def test_a_qwen_folder_puts_nothing_before_a_prompt_but_opens_documents(bpe, tmp_path):
    qwen = foreign(bpe, tmp_path, processors.ByteLevel(trim_offsets=False), eos_token=END, bos_token=None)
    words = bpe.ids(POEM, start=False)
    assert qwen.ids(POEM) == words
    assert qwen.batch_ids([POEM]) == [[0, *words]]


def test_saving_keeps_a_foreign_folders_settings_and_chat_template(bpe, tmp_path):
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "a").mkdir()
    template = processors.ByteLevel()
    foreign(bpe, tmp_path, template, eos_token=END, model_max_length=77).save(tmp_path / "a")
    kept = json.loads((tmp_path / "a" / "tokenizer_config.json").read_text())
    assert (tmp_path / "a" / "chat_template.jinja").read_text() == "{{ messages }}"
    assert "chat_template" not in kept
    assert kept["model_max_length"] == 77
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory):
    """A tokenizer in the shape of Llama 2's: SentencePiece BPE with byte fallback."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256)), *"▁themonabAB", "▁t", "he", "▁the"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(pieces)},
            merges=[("▁", "t"), ("h", "e"), ("▁t", "he")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    path = tmp_path_factory.mktemp("sentencepiece")
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    return Bpe.load(path)


@FUZZ
@given(text=TEXTS.map(lambda text: text.replace("▁", "")))
def test_a_llama_2_folder_reads_and_streams(sentencepiece, text):
    ids = sentencepiece.ids(text)
    assert ids[:1] == [1]
    assert sentencepiece.text(ids) == text
    assert sentencepiece.text(ids) == Tokenizer.from_str(sentencepiece.source).decode(ids)
    stream = sentencepiece.stream()
    assert "".join([*map(stream.push, ids), stream.flush()]) == text


def test_a_llama_2_folder_shares_tokens_between_words(sentencepiece):
    tokens = sentencepiece.ids("the the")
    assert tokens == [1, sentencepiece.vocab_size - 1, sentencepiece.vocab_size - 1]


def test_what_ends_an_answer_is_the_end_of_the_text_and_whatever_a_model_adds(bpe):
    assert bpe.ends == (bpe.end_id,)
    speaking = bpe.speaking((2,), "{{ messages }}")
    assert speaking.ends == (2, bpe.end_id)
    assert speaking.speaking((2, 0)).ends == (2, 0)
    assert speaking.chat_template == "{{ messages }}"
    assert speaking.hash == bpe.hash
    assert bpe.chat_template is None


def test_a_special_token_may_take_the_space_beside_it_along(bpe, tmp_path):
    import transformers

    data = json.loads(bpe.source)
    for token in data["added_tokens"]:
        token["rstrip"] = token["content"] == "<|im_end|>"
        token["lstrip"] = token["content"] == "<|im_start|>"
    greedy = Bpe(json.dumps(data), bpe.settings)
    greedy.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "a <|im_end|> \n b\n <|im_start|> user<|im_start|>"
    ids, spans = greedy.template_tokens(text)
    assert ids == theirs(text, add_special_tokens=False).input_ids
    assert "".join(text[begin:end] for begin, end in spans) == text
