"""The shape of a decoder, in the ecosystem's own field names; imports no torch."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from makar.core.config import Config


class Llama3Scaling(Config):
    """Llama 3.1's stretch of the slow rotary frequencies, for contexts longer than the first training's.

    Args:
        factor: How many times longer the context became.
        low_freq_factor: Wavelengths above `original_max_position_embeddings / low_freq_factor` are stretched whole.
        high_freq_factor: Wavelengths below `original_max_position_embeddings / high_freq_factor` are left alone.
        original_max_position_embeddings: The context of the first training, tokens.
    """

    rope_type: Literal["llama3"] = "llama3"
    factor: float = Field(ge=1)
    low_freq_factor: float = Field(default=1.0, gt=0)
    high_freq_factor: float = Field(default=4.0, gt=0)
    original_max_position_embeddings: int = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> "Llama3Scaling":
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError("set high_freq_factor above low_freq_factor")
        return self


def default_heads(known: dict[str, Any]) -> int:
    """Heads of 64, or of the largest smaller power of two that divides the width."""
    return known["hidden_size"] // math.gcd(known["hidden_size"], 64)


def default_intermediate(known: dict[str, Any]) -> int:
    """Eight thirds of the width, so that three matrices cost what GPT's two did, in whole blocks of 64."""
    return 64 * math.ceil(known["hidden_size"] / 24)


class DecoderConfig(Config):
    """A decoder of the Llama kind. Width and depth are enough; the rest follows.

    Args:
        vocab_size: Rows of the embedding; 0 until the tokenizer is known.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Depth.
        intermediate_size: Width inside the SwiGLU; 8/3 of `hidden_size` by default, in multiples of 64.
        num_attention_heads: Query heads; `hidden_size / 64` by default.
        num_key_value_heads: Heads of keys and values, each shared by a group of queries; as many as queries by default.
        head_dim: Width of a head; `hidden_size / num_attention_heads` by default.
        max_position_embeddings: The longest context, tokens.
        rope_theta: Base of the rotary wavelengths.
        rope_scaling: A stretch of these wavelengths (Llama 3.1), or none.
        rms_norm_eps: Added to the mean square.
        tie_word_embeddings: Whether the output matrix is the embedding itself.
        attention_bias: Biases on all four projections of the attention (Llama's and Qwen3's switch).
        qkv_bias: Biases on queries, keys and values alone (Qwen2).
        qk_norm: RMSNorm over each head's queries and keys (Qwen3).
        sliding_window: How many tokens back a token sees, itself included (Mistral); None for all.
        initializer_range: Standard deviation of fresh weights.
    """

    vocab_size: int = Field(default=0, ge=0)
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    intermediate_size: int = Field(default_factory=default_intermediate, gt=0)
    num_attention_heads: int = Field(default_factory=default_heads, gt=0)
    num_key_value_heads: int = Field(default_factory=lambda known: known["num_attention_heads"], gt=0)
    head_dim: int = Field(default_factory=lambda known: known["hidden_size"] // known["num_attention_heads"], gt=0)
    max_position_embeddings: int = Field(default=1024, gt=0)
    rope_theta: float = Field(default=10_000.0, gt=0)
    rope_scaling: Llama3Scaling | None = None
    rms_norm_eps: float = Field(default=1e-6, gt=0)
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    sliding_window: int | None = Field(default=None, gt=0)
    initializer_range: float = Field(default=0.02, gt=0, le=1)

    @model_validator(mode="after")
    def _fits(self) -> "DecoderConfig":
        width, heads, groups = self.hidden_size, self.num_attention_heads, self.num_key_value_heads
        if width % heads:
            near = min((n for n in range(1, width + 1) if width % n == 0), key=lambda n: abs(n - heads))
            raise ValueError(
                f"set num_attention_heads to a divisor of hidden_size {width}, such as {near} (got {heads})"
            )
        if heads % groups:
            near = min((n for n in range(1, heads + 1) if heads % n == 0), key=lambda n: abs(n - groups))
            raise ValueError(
                f"set num_key_value_heads to a divisor of num_attention_heads {heads}, such as {near} (got {groups})"
            )
        if self.head_dim % 2:
            raise ValueError(f"set head_dim to an even number, for rotary positions turn pairs (got {self.head_dim})")
        if self.qkv_bias and (self.attention_bias or self.qk_norm):
            raise ValueError("turn qkv_bias off: no model of the ecosystem has it beside attention_bias or qk_norm")
        if self.sliding_window and self.attention_bias and not self.qk_norm:
            raise ValueError("turn attention_bias or sliding_window off: no model of the ecosystem has just these two")
        return self
