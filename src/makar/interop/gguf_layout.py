"""What GGUF calls the parts of a decoder, both ways: metadata and `LanguageConfig`, tensor names, the order of heads.

llama.cpp turns neighbouring pairs of a Llama head where `transformers` turns its two halves, so the rows of queries
and keys of that architecture are stored in another order; Qwen's are not.
"""

import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.config import parse
from makar.core.errors import ModelError, RecipeError
from makar.families.language.config import LanguageConfig
from makar.families.language.ecosystem import kind_of
from makar.interop.gguf_file import Gguf
from makar.nets.config import DecoderConfig, Llama3Scaling
from makar.nets.rope import frequencies

ARCHITECTURES = ("llama", "qwen2", "qwen3")

TOP: Mapping[str, str] = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}

BLOCK: Mapping[str, str] = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

ROPE_FACTORS = "rope_freqs.weight"
"""What Llama 3.1 divides its rotary frequencies by, worked out: GGUF has no words for how."""

LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""The rest of the rule, the same in every model of that kind so far."""

NUMBERS: Mapping[str, str] = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
    "rope_theta": "rope.freq_base",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
"""Fields of the config, and the keys of the metadata behind the architecture's name."""

NEEDED = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "rms_norm_eps")


def gguf_name(name: str) -> str:
    """The name in GGUF of a parameter of the decoder.

    Raises:
        ModelError: GGUF has no such tensor.
    """
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if name in TOP:
        return TOP[name]
    if found is None or found[2] not in BLOCK:
        raise ModelError("GGUF has no place for this tensor", value=name, fix="merge the adapter into the model first")
    return f"blk.{found[1]}.{BLOCK[found[2]]}.{found[3]}"


def turned(name: str, config: DecoderConfig) -> int:
    """How many heads a parameter of the decoder must be reordered by; 0 for none."""
    if kind_of(config) != "llama":
        return 0
    if ".self_attn.q_proj." in name:
        return config.num_attention_heads
    return config.num_key_value_heads if ".self_attn.k_proj." in name else 0


def to_pairs(tensor: Float[Tensor, "rows ..."], heads: int) -> Float[Tensor, "rows ..."]:
    """Rows of each head from two halves to neighbouring pairs."""
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2).contiguous()


def to_halves(tensor: Float[Tensor, "rows ..."], heads: int) -> Float[Tensor, "rows ..."]:
    """Rows of each head from neighbouring pairs to two halves: undoes `to_pairs`."""
    return tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2).contiguous()


def config_of(file: Gguf) -> LanguageConfig:
    """The decoder that a file holds, its numbers held against the tensors before they are believed.

    Raises:
        ModelError: An architecture, or a part of one, that makar does not build; or numbers that do not fit together.
    """
    kind = file.metadata.get("general.architecture")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise file.fault("unknown architecture", kind, f"makar imports these: {known}")
    refuse_others(file, kind)
    fields = {name: number for name, key in NUMBERS.items() if (number := plain(file, f"{kind}.{key}")) is not None}
    missing = next((name for name in NEEDED if name not in fields), None)
    if missing is not None:
        raise file.fault(f"{kind}.{NUMBERS[missing]} is missing from the metadata")
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2 or embedding.shape[1] != fields["hidden_size"]:  # noqa: PLR2004
        raise file.fault("the embedding does not fit the metadata", embedding and embedding.shape)
    blocks = {found[1] for name in file.tensors if (found := re.match(r"blk\.(\d+)\.", name))}
    if len(blocks) != fields["num_hidden_layers"]:
        raise file.fault(
            "the metadata and the tensors disagree about the number of layers",
            f"{fields['num_hidden_layers']} and {len(blocks)}",
        )
    fields |= {
        "vocab_size": embedding.shape[0],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "qk_norm": kind == "qwen3",
        "qkv_bias": kind == "qwen2",
        "attention_bias": kind == "llama" and "blk.0.attn_q.bias" in file.tensors,
    }
    try:
        config = parse(LanguageConfig, fields, file.path)
        scaling = scaling_of(file, config)
        return config if scaling is None else config.model_copy(update={"rope_scaling": scaling})
    except RecipeError as fault:
        raise file.fault(fault.what, fault.value, fault.fix) from None


def plain(file: Gguf, key: str) -> int | float | None:
    """A number of the metadata, or None where it is not there.

    Raises:
        ModelError: It is something else.
    """
    found = file.metadata.get(key)
    if found is None or (isinstance(found, int | float) and not isinstance(found, bool)):
        return found
    raise file.fault(f"{key} is not one number", found, "makar builds layers that are all alike")


def refuse_others(file: Gguf, kind: str) -> None:
    """Refuse what would load and then compute something else."""
    if plain(file, f"{kind}.expert_count"):
        raise file.fault("a mixture of experts", kind, "makar builds dense decoders")
    scaling = file.metadata.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none" and plain(file, f"{kind}.rope.scaling.factor") != 1:
        raise file.fault("unknown rope scaling", scaling, "makar knows none, and Llama 3.1's")
    if (linear := plain(file, f"{kind}.rope.scale_linear")) not in (None, 1):  # what older files call it
        raise file.fault("unknown rope scaling", linear, "makar knows none, and Llama 3.1's")
    width, turned = plain(file, f"{kind}.attention.key_length"), plain(file, f"{kind}.rope.dimension_count")
    if width is not None and turned is not None and turned != width:
        raise file.fault("only a part of each head is rotated", turned, f"it must be all {width}")


def scaling_of(file: Gguf, config: LanguageConfig) -> Llama3Scaling | None:
    """The rule behind the factors that a file divides its rotary frequencies by.

    Raises:
        ModelError: They do not come from Llama 3.1's rule.
    """
    stored = file.tensors.get(ROPE_FACTORS)
    if stored is None:
        return None
    if stored.shape == (config.head_dim // 2,):
        factors = file.tensor(ROPE_FACTORS)
        factor = float(factors.max())
        if 1 <= factor < float("inf"):
            scaling = Llama3Scaling(factor=factor, **LLAMA_3)  # pyright: ignore[reportArgumentType]
            wanted = factors_of(config.model_copy(update={"rope_scaling": scaling}))
            if torch.allclose(factors, wanted, rtol=1e-3):
                return scaling
    raise file.fault("the rope factors are not those of Llama 3.1", stored.shape, "makar knows no other rule")


def factors_of(config: DecoderConfig) -> Float[Tensor, " half"]:
    """What the rotary frequencies of a config are divided by."""
    here = torch.device("cpu")
    return frequencies(config.model_copy(update={"rope_scaling": None}), here) / frequencies(config, here)


def metadata_of(config: DecoderConfig) -> dict[str, int | float]:
    """The numbers of a config by the keys that they have in GGUF, less the architecture's name before each.

    Raises:
        ModelError: llama.cpp would compute something else.
    """
    kind = kind_of(config)
    if kind not in ARCHITECTURES or config.sliding_window is not None:
        raise ModelError("GGUF has no sliding window for this kind of model", value=kind, fix="export to transformers")
    if kind == "qwen3" and config.attention_bias:
        raise ModelError("GGUF has no biases for Qwen3", value="attention_bias", fix="export to transformers")
    if config.rope_scaling is not None and {name: getattr(config.rope_scaling, name) for name in LLAMA_3} != LLAMA_3:
        raise ModelError("a rope scaling other than Llama 3.1's own", fix="export to transformers")
    numbers: dict[str, int | float] = {key: getattr(config, name) for name, key in NUMBERS.items()}
    return numbers | {
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
    }
