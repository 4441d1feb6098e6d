"""A model through GGUF and back; transformers' own reader is the oracle where it reads the same kind."""

import random
from pathlib import Path

import gguf
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.codecs.bpe import Bpe
from makar.core.errors import ModelError
from makar.families.language.config import LanguageConfig
from makar.interop.gguf_file import open_gguf
from makar.interop.gguf_layout import to_halves, to_pairs
from makar.interop.gguf_read import read_gguf
from makar.interop.gguf_tokens import PRE_TOKENIZERS
from makar.interop.gguf_write import PRECISIONS, write_gguf
from tests.interop.conftest import build

BLOCK = {"f32": 0.0, "f16": 2**-10, "q8_0": 1 / 120, "q4_0": 1 / 6}
"""How far a number may move, as a share of the largest in its row."""


def state(model) -> dict[str, torch.Tensor]:
    return dict(model.net.state_dict())


def test_every_kind_comes_back_as_it_went(tiny, tmp_path):
    write_gguf(tiny, tmp_path / "m.gguf")
    back = read_gguf(tmp_path / "m.gguf")
    assert back.config == tiny.config.model_copy(update={"initializer_range": 0.02})
    assert state(back).keys() == state(tiny).keys()
    for name, tensor in state(tiny).items():
        assert torch.equal(tensor, state(back)[name]), name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_moves_numbers_no_further_than_its_blocks_allow(model, tmp_path, precision):
    write_gguf(model, tmp_path / "m.gguf", precision)
    back = state(read_gguf(tmp_path / "m.gguf"))
    for name, tensor in state(model).items():
        found = back[name]
        largest = tensor.abs().amax(-1, keepdim=True)
        assert ((found - tensor).abs() <= BLOCK[precision] * largest + 1e-8).all(), name
        assert tensor.ndim > 1 or torch.equal(found, tensor)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_reordering_heads_is_undone(heads):
    rows = torch.arange(32.0).view(16, 2)
    assert torch.equal(to_halves(to_pairs(rows, heads), heads), rows)
    assert to_pairs(torch.arange(8.0), 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_transformers_reads_the_same_numbers(bpe, tmp_path, kind, precision):
    from transformers import AutoModelForCausalLM

    fields = {"llama": {"num_key_value_heads": 2}, "qwen2": {"qkv_bias": True}, "qwen3": {"qk_norm": True}}
    # transformers does not read the width of a head here, and takes 128 for Qwen3's
    head = {"head_dim": 128, "num_attention_heads": 2} if kind == "qwen3" else {}
    model = build(bpe, **fields[kind], **head, tie_word_embeddings=False)
    write_gguf(model, tmp_path / "m.gguf", precision)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32).eval()
    ours = read_gguf(tmp_path / "m.gguf")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, state(ours)[name]), name
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours.net(tokens), theirs(tokens).logits, atol=1e-3, rtol=1e-4)


def rewritten(source: Path, out: Path, kinds: dict[str, Kind], blocks: dict[str, bytes]) -> None:
    """A copy of a file by gguf's own writer, some tensors of it packed as `blocks` says."""
    file = open_gguf(source)
    writer = GGUFWriter(out, "llama")
    for key, value in file.metadata.items():
        if key == "general.architecture":
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            (writer.add_array if isinstance(value, list) else writer.add_string)(key, value)
    for name in file.tensors:
        plain = file.tensor(name).numpy()
        if name not in kinds:
            writer.add_tensor(name, plain)
        elif kinds[name] in (Kind.Q4_K, Kind.Q6_K):  # gguf cannot pack these: any bytes are some numbers
            block, width = gguf.GGML_QUANT_SIZES[kinds[name]]
            size = plain.size // block * width
            raw = torch.frombuffer(bytearray(blocks[name][:size]), dtype=torch.uint8).numpy()
            writer.add_tensor(name, raw.reshape(len(plain), -1), raw_dtype=kinds[name])
        else:
            writer.add_tensor(name, gguf.quants.quantize(plain, kinds[name]), raw_dtype=kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_blocks(kind: Kind, count: int) -> bytes:
    """Blocks of random numbers whose scales are small ones."""
    rng = random.Random(0)
    _, width = gguf.GGML_QUANT_SIZES[kind]
    scales = {Kind.Q4_K: range(4), Kind.Q6_K: range(width - 2, width)}[kind]
    return b"".join(
        bytes(0x14 if i in scales and i % 2 else rng.randrange(256) for i in range(width)) for _ in range(count)
    )


@pytest.mark.parametrize("kind", [Kind.BF16, Kind.Q4_1, Kind.Q4_K, Kind.Q6_K])
def test_kinds_that_are_only_read_are_read_as_transformers_reads_them(bpe, tmp_path, kind):
    from transformers import AutoModelForCausalLM

    model = build(bpe, hidden_size=256, num_attention_heads=4, tie_word_embeddings=False, num_hidden_layers=1)
    write_gguf(model, tmp_path / "plain.gguf")
    wanted = {"blk.0.attn_q.weight": kind, "blk.0.ffn_gate.weight": kind}
    blocks = random_blocks(kind, 256) if kind in (Kind.Q4_K, Kind.Q6_K) else b""
    rewritten(tmp_path / "plain.gguf", tmp_path / "m.gguf", wanted, dict.fromkeys(wanted, blocks))
    ours = state(read_gguf(tmp_path / "m.gguf"))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32).state_dict()
    for name, tensor in theirs.items():
        assert torch.isfinite(tensor).all()
        assert torch.equal(tensor, ours[name]), name


TEXTS = st.text(max_size=60) | st.text("ab 1\n'’s\t\r_ é中\u200d😀<|im_end|>", max_size=60)


@pytest.fixture(scope="module")
def returned(bpe, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "m.gguf"
    write_gguf(build(bpe), path)
    return read_gguf(path).parts["codec"]


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_the_tokenizer_inside_gives_the_same_ids(bpe, returned, text):
    assert returned.ids(text) == bpe.ids(text)
    assert returned.template_ids(text) == bpe.template_ids(text)
    assert returned.text(returned.ids(text)) == text


def test_what_the_tokenizer_knows_besides_survives(bpe, returned):
    for known in ("special", "start", "opener", "closer", "end_id", "ends", "pad_id", "vocab_size"):
        assert getattr(returned, known) == getattr(bpe, known), known
    assert returned.settings["chat_template"] == bpe.settings["chat_template"]


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_each_known_split_is_written_under_its_name(bpe, tmp_path, pre):
    import json

    from tokenizers import Tokenizer

    data = json.loads(bpe.source)
    data["model"]["ignore_merges"] = pre == "llama-bpe"
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre]
    codec = Bpe(tokenizer.to_str(), bpe.settings)
    write_gguf(build(codec), tmp_path / "m.gguf")
    assert open_gguf(tmp_path / "m.gguf").metadata["tokenizer.ggml.pre"] == pre
    text = "It's 1234 o'clock,   don't\n\n x=12"
    assert read_gguf(tmp_path / "m.gguf").parts["codec"].ids(text) == codec.ids(text)


def test_what_gguf_has_no_words_for_is_refused(bpe, tmp_path):
    import json

    out = tmp_path / "m.gguf"
    for fields in ({"sliding_window": 8}, {"qk_norm": True, "attention_bias": True}):
        with pytest.raises(ModelError, match="GGUF has no"):
            write_gguf(build(bpe, **fields), out)
    data = json.loads(bpe.source)
    data["pre_tokenizer"] = {"type": "Whitespace"}
    with pytest.raises(ModelError, match="no tokenizer known to GGUF"):
        write_gguf(build(Bpe(json.dumps(data), bpe.settings)), out)
    large = build(bpe)
    with torch.no_grad():
        large.net.model.embed_tokens.weight[0, 0] = 1e5
    with pytest.raises(ModelError, match="beyond half precision"):
        write_gguf(large, out, "f16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"general.architecture": "mamba"}, r"unknown architecture \(got 'mamba'\)"),
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.rope.scaling.type": "yarn"}, "unknown rope scaling"),
        ({"llama.rope.dimension_count": 8}, "only a part of each head"),
        ({"llama.block_count": 3}, r"disagree about the number of layers \(got '3 and 2'\)"),
        ({"llama.embedding_length": 65}, "the embedding does not fit"),
        ({"llama.feed_forward_length": 97}, "another shape than the metadata asks for"),
        ({"llama.attention.head_count": 7}, "num_attention_heads to a divisor"),
        ({"llama.attention.head_count_kv": [1, 2]}, "is not one number"),
        ({"tokenizer.ggml.model": "llama"}, "another kind than byte-level BPE"),
        ({"tokenizer.ggml.pre": "tekken"}, r"unknown split of the tokenizer \(got 'tekken'\)"),
        ({"tokenizer.ggml.eos_token_id": 100_000}, "is no token"),
        ({"tokenizer.ggml.merges": ["a zebra"]}, "no tokens"),
        ({"tokenizer.ggml.tokens": ["a"]}, "not equally many"),
        ({"llama.rope.freq_base": -1.0}, "rope_theta"),
    ],
)
def test_what_does_not_fit_is_one_line_that_says_where(model, tmp_path, monkeypatch, change, said):
    write_gguf(model, tmp_path / "m.gguf")
    file = open_gguf(tmp_path / "m.gguf")
    changed = type(file)(file.path, {**file.metadata, **change}, file.tensors, file.data)
    monkeypatch.setattr("makar.interop.gguf_read.open_gguf", lambda path: changed)
    with pytest.raises(ModelError, match=said) as caught:
        read_gguf(tmp_path / "m.gguf")
    assert "m.gguf" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_quantisation_unknown_here_is_named(model, tmp_path):
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("token_embd.weight", torch.zeros(1, 110, dtype=torch.uint8).numpy(), raw_dtype=Kind.Q3_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"quantised in a way that makar does not read \(got 'Q3_K'\)"):
        read_gguf(tmp_path / "m.gguf")


def test_defaults_of_the_format_are_filled_in(model, tmp_path, monkeypatch):
    write_gguf(build(model.parts["codec"]), tmp_path / "m.gguf")
    file = open_gguf(tmp_path / "m.gguf")
    left = ("attention.head_count_kv", "attention.key_length", "context_length", "rope.freq_base")
    kept = {key: value for key, value in file.metadata.items() if not key.endswith(left)}
    monkeypatch.setattr(
        "makar.interop.gguf_read.open_gguf", lambda path: type(file)(path, kept, file.tensors, file.data)
    )
    config = read_gguf(tmp_path / "m.gguf").config
    assert isinstance(config, LanguageConfig)
    assert (config.num_key_value_heads, config.head_dim, config.rope_theta) == (4, 16, 10_000.0)
