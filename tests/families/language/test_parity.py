"""The same logits as `transformers`, from its folders and in its hands."""

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from makar.codecs.bpe import SMALLEST, train_bpe
from makar.core.nouns import Model
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.nets.cache import Cache
from makar.nets.decoder import Decoder

SHAPE = {
    "vocab_size": 53, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
THEIRS = {
    "llama": ("Llama", {}),
    "llama, tied, biases, wide heads": (
        "Llama",
        {"tie_word_embeddings": True, "attention_bias": True, "head_dim": 16, "rms_norm_eps": 0.01},
    ),
    "llama 3.1": ("Llama", {"rope_parameters": LLAMA3}),
    "mistral": ("Mistral", {"sliding_window": 6, "rope_parameters": {"rope_type": "default", "rope_theta": 123.0}}),
    "mistral, no window": ("Mistral", {"sliding_window": None, "num_key_value_heads": 4, "head_dim": 6}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2, window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0}),
    "qwen2, window that no layer uses": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 3},
    ),
    "qwen3": ("Qwen3", {"head_dim": 16, "num_key_value_heads": 1}),
    "qwen3, tied, biases": ("Qwen3", {"head_dim": 8, "attention_bias": True, "tie_word_embeddings": True}),
}
OURS = {
    "llama": {},
    "llama, three numbers": {"intermediate_size": None, "num_key_value_heads": None, "num_attention_heads": None},
    "llama, biases": {"attention_bias": True, "tie_word_embeddings": False},
    "llama 3.1": {"rope_scaling": {k: v for k, v in LLAMA3.items() if k != "rope_theta"}, "rope_theta": 500.0},
    "mistral": {"sliding_window": 6, "head_dim": 16},
    "qwen2": {"qkv_bias": True},
    "qwen2, window": {"qkv_bias": True, "sliding_window": 4, "tie_word_embeddings": False},
    "qwen3": {"qk_norm": True, "head_dim": 16, "rms_norm_eps": 0.01},
    "qwen3, window, biases": {"qk_norm": True, "sliding_window": 4, "attention_bias": True},
}


@torch.no_grad()
def shaken(net):
    """Every parameter random: fresh biases are 0 and fresh norms 1, which would hide a mistake."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.dim() == 1))
    return net.eval()


def ids(vocab: int = 53) -> torch.Tensor:
    return torch.randint(0, vocab, (2, 23), generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def same_logits(ours: Decoder, theirs) -> None:
    """Over whole rows, and over pieces with a cache on both sides."""
    tokens = ids(ours.config.vocab_size)
    wanted = theirs(tokens).logits
    assert wanted.std() > 0.1
    torch.testing.assert_close(ours(tokens), wanted, atol=1e-4, rtol=0)
    cache = Cache.empty(ours.config, 2, 23, torch.float32)
    past = transformers.DynamicCache(config=theirs.config)
    for piece in tokens.split([9, 1, 1, 12], 1):
        wanted = theirs(piece, past_key_values=past, use_cache=True).logits
        torch.testing.assert_close(ours(piece, cache=cache), wanted, atol=1e-4, rtol=0)
        cache.lengths.add_(piece.shape[1])


def random_theirs(name: str, fields: dict):
    config = getattr(transformers, f"{name}Config")(**SHAPE | fields)
    return shaken(getattr(transformers, f"{name}ForCausalLM")(config))


@pytest.mark.parametrize("case", THEIRS)
def test_their_folder_gives_their_logits_here(case, tmp_path):
    theirs = random_theirs(*THEIRS[case])
    theirs.save_pretrained(tmp_path)
    assert FAMILY.folder.recognises(tmp_path)
    same_logits(FAMILY.folder.load(tmp_path).net, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shards_of_half_precision_are_read_in_float32(dtype, tmp_path):
    theirs = random_theirs("Llama", {}).to(dtype)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    net = FAMILY.folder.load(tmp_path).net
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    same_logits(net, type(theirs).from_pretrained(tmp_path, dtype=torch.float32).eval())


def our_model(fields: dict) -> Model:
    codec = train_bpe(["the moon and the sea " * 3], SMALLEST + 4)
    shape = SHAPE | {"vocab_size": codec.vocab_size + 3} | fields
    config = LanguageConfig(**{name: value for name, value in shape.items() if value is not None})
    return Model(
        FAMILY,
        config,
        shaken(Decoder(config)),
        {"codec": codec},
        {"temperature": 0.7, "max_tokens": 9, "stop": ("end",)},
    )


@pytest.mark.parametrize("case", OURS)
def test_our_folder_gives_our_logits_there(case, tmp_path):
    model = our_model(OURS[case])
    FAMILY.folder.save(model, tmp_path)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert theirs.config.model_type == case.split()[0].rstrip(",")
    assert theirs.dtype == torch.float32
    same_logits(model.net, theirs.eval())

    codec, tokenizer = model.parts["codec"], transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("The moon", " and the  sea\n\n", "ünï 🌙 don't 1234"):
        assert tokenizer(text).input_ids == codec.ids(text)
        assert tokenizer.decode(codec.ids(text), skip_special_tokens=True) == text
    for config in (theirs.config, theirs.generation_config):
        assert (config.eos_token_id, config.pad_token_id) == (codec.end_id, codec.pad_id)
    assert (theirs.generation_config.temperature, theirs.generation_config.max_new_tokens) == (0.7, 9)


@st.composite
def shapes(draw) -> dict:
    """Any decoder that the ecosystem has a name for."""
    groups, share, head_dim = (draw(st.integers(1, 3)) for _ in range(3))
    kind = draw(st.sampled_from(["llama", "mistral", "qwen2", "qwen3"]))
    fields: dict = {
        "num_key_value_heads": groups,
        "num_attention_heads": groups * share,
        "hidden_size": groups * share * draw(st.integers(8, 12)),
        "head_dim": head_dim * 2,
        "intermediate_size": draw(st.integers(1, 40)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "tie_word_embeddings": draw(st.booleans()),
        "rope_theta": draw(st.sampled_from([50.0, 10_000.0])),
    }
    if draw(st.booleans()):
        fields["rope_scaling"] = OURS["llama 3.1"]["rope_scaling"]
    if kind in ("llama", "qwen3"):
        fields["attention_bias"] = draw(st.booleans())
    if kind == "mistral" or (kind != "llama" and draw(st.booleans())):
        fields["sliding_window"] = draw(st.integers(2, 30))  # transformers keeps a wrong cache for 1
    return fields | {"qwen2": {"qkv_bias": True}, "qwen3": {"qk_norm": True}}.get(kind, {})


def there_and_back(fields: dict, folder) -> None:
    """Save here, open there, save there, open here: the logits and the config stay."""
    model = our_model(fields)
    ours, back = folder / "ours", folder / "back"
    ours.mkdir(exist_ok=True)
    FAMILY.folder.save(model, ours)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(ours).eval()
    same_logits(model.net, theirs)
    theirs.save_pretrained(back)
    again = FAMILY.folder.load(back)
    assert again.config == model.config
    same_logits(again.net, theirs)


QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=4, derandomize=True, **QUIET)
@given(fields=shapes())
def test_any_shape_goes_there_and_back(fields, tmp_path):
    there_and_back(fields, tmp_path)


@pytest.mark.slow
@settings(max_examples=150, **QUIET)
@given(fields=shapes())
def test_many_shapes_go_there_and_back(fields, tmp_path):
    there_and_back(fields, tmp_path)
