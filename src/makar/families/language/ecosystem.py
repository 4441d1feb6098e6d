"""`LanguageConfig` to and from the ecosystem's config.json: Llama, Mistral, Qwen2 and dense Qwen3. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from makar.core.config import parse
from makar.core.errors import ModelError, RecipeError
from makar.families.language.config import LanguageConfig
from makar.nets.config import DecoderConfig

ARCHITECTURES: Mapping[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""The kinds of model that makar reads and writes, by `model_type`."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "mistral": {"max_position_embeddings": 131_072, "num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"max_position_embeddings": 32_768},
    "qwen3": {"max_position_embeddings": 32_768, "head_dim": 128},
}
"""What a config.json means by a field that it leaves out, where the kinds differ."""

SAME = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
)
"""Fields with one name and one meaning on both sides."""


def to_ecosystem(config: DecoderConfig) -> dict[str, Any]:
    """The content of config.json, as `transformers` 4 and 5 and llama.cpp read it."""
    kind = kind_of(config)
    window = config.sliding_window
    scaling = None if config.rope_scaling is None else config.rope_scaling.model_dump()
    fields: dict[str, Any] = {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "dtype": "float32",
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "use_cache": True,
        **{name: getattr(config, name) for name in SAME},
        "rope_parameters": (scaling or {"rope_type": "default"}) | {"rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,  # transformers 4 and llama.cpp look here
        "rope_scaling": scaling,
    }
    if kind in ("llama", "qwen3"):
        fields["attention_bias"] = config.attention_bias
    if kind == "llama":
        fields["mlp_bias"] = False
    if kind == "mistral":
        fields["sliding_window"] = window
    if kind in ("qwen2", "qwen3"):
        layers = "full_attention" if window is None else "sliding_attention"
        fields |= {
            "use_sliding_window": window is not None,
            "sliding_window": window,
            "max_window_layers": 0 if window else config.num_hidden_layers,
            "layer_types": [layers] * config.num_hidden_layers,
        }
    return fields


def kind_of(config: DecoderConfig) -> str:
    """The `model_type` whose network is the one that the config describes."""
    if config.qk_norm:
        return "qwen3"
    if config.qkv_bias:
        return "qwen2"
    return "llama" if config.sliding_window is None else "mistral"


def from_ecosystem(found: Mapping[str, Any], where: object) -> LanguageConfig:
    """Read a config.json.

    Raises:
        ModelError: Another kind of model, a part that makar's decoder lacks, or fields that do not fit together.
    """
    kind = found.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError("unknown kind of language model", where=where, value=kind, fix=f"makar opens {known}")
    refuse_others(found, where)
    fields = {name: found[name] for name in SAME if found.get(name) is not None}
    fields = dict(DEFAULTS[kind]) | {"tie_word_embeddings": False} | fields
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        if name not in fields:
            raise ModelError(f"{name!r} is missing", where=where, fix="copy the whole folder again")
    fields["sliding_window"] = sliding_window(found, kind, where)
    fields["qk_norm"], fields["qkv_bias"] = kind == "qwen3", kind == "qwen2"
    fields["attention_bias"] = kind in ("llama", "qwen3") and found.get("attention_bias", False)
    try:
        return parse(LanguageConfig, fields | rope(found, where), where)
    except RecipeError as fault:
        raise ModelError(fault.what, where=where, value=fault.value, fix=fault.fix) from None


def refuse_others(found: Mapping[str, Any], where: object) -> None:
    """Refuse what would load and then compute something else."""
    if found.get("quantization_config"):
        raise ModelError("the weights are quantised", where=where, fix="open the model's unquantised folder")
    if (act := found.get("hidden_act", "silu")) not in ("silu", "swish"):
        raise ModelError("another activation than SiLU", where=where, value=act, fix="only 'silu' is built here")
    if found.get("mlp_bias"):
        raise ModelError("biases in the MLP are not built here", where=where, fix="open a model with mlp_bias false")


def sliding_window(found: Mapping[str, Any], kind: str, where: object) -> int | None:
    """The window that all layers share."""
    if kind == "llama":
        return None
    window = found["sliding_window"] if "sliding_window" in found else DEFAULTS[kind].get("sliding_window")
    if kind == "mistral":
        return window
    if not found.get("use_sliding_window", False) or window is None:
        return None
    layers = found.get("num_hidden_layers", 0)
    first = found.get("max_window_layers", 28)
    types = found.get("layer_types") or [("full", "sliding")[i >= first] + "_attention" for i in range(layers)]
    if len(set(types)) > 1:
        raise ModelError(
            "some layers have a sliding window and some have none",
            where=where,
            fix="makar's decoder has one window for all layers",
        )
    return window if "sliding_attention" in types else None


def rope(found: Mapping[str, Any], where: object) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`, from `rope_parameters` of transformers 5 or the two fields of 4."""
    given = found.get("rope_scaling") or found.get("rope_parameters") or {}
    if not isinstance(given, dict):
        raise ModelError("the rope parameters are not an object", where=where, value=given, fix="copy the folder again")
    given = dict(given)
    theta = given.pop("rope_theta", found.get("rope_theta", 10_000.0))
    kind = given.get("rope_type", given.pop("type", "default"))
    if given.pop("partial_rotary_factor", found.get("partial_rotary_factor", 1.0)) not in (1, None):
        raise ModelError("only a part of each head is rotated", where=where, fix="partial_rotary_factor must be 1")
    if kind == "default":
        return {"rope_theta": theta}
    if kind != "llama3":
        raise ModelError("unknown rope scaling", where=where, value=kind, fix="makar knows 'default' and 'llama3'")
    wanted = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    return {"rope_theta": theta, "rope_scaling": {name: given[name] for name in wanted if name in given}}
