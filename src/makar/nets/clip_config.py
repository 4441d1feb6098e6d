"""The shape of two towers that see and read, in the field names of transformers' CLIP and SigLIP; imports no torch."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from makar.core.config import Config

Activation = Literal["quick_gelu", "gelu", "gelu_pytorch_tanh"]

LOGIT_SCALE = math.log(1 / 0.07)
"""A temperature of 0.07 to begin with. Paper: arXiv 2103.00020, section 2.5."""


def default_heads(known: dict[str, Any]) -> int:
    """Heads of 32, or of the largest smaller power of two that divides the width."""
    return known["hidden_size"] // math.gcd(known["hidden_size"], 32)


class ClipTowerConfig(Config):
    """What both towers have. Width and depth are enough; the rest follows.

    Args:
        hidden_size: Width of the residual stream.
        num_hidden_layers: Depth.
        intermediate_size: Width inside the feed-forward layers; 4 times `hidden_size` by default.
        num_attention_heads: Heads; `hidden_size / 32` by default.
        hidden_act: "gelu", "quick_gelu", the sigmoid form of OpenAI's models, or "gelu_pytorch_tanh".
        layer_norm_eps: Added to the variance.
    """

    hidden_size: int = Field(default=128, gt=0)
    num_hidden_layers: int = Field(default=4, gt=0)
    intermediate_size: int = Field(default_factory=lambda known: 4 * known["hidden_size"], gt=0)
    num_attention_heads: int = Field(default_factory=default_heads, gt=0)
    hidden_act: Activation = "gelu"
    layer_norm_eps: float = Field(default=1e-5, gt=0)

    @model_validator(mode="after")
    def _divided(self) -> "ClipTowerConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"set num_attention_heads to a divisor of hidden_size {self.hidden_size}"
                f" (got {self.num_attention_heads})"
            )
        return self


class ClipTextConfig(ClipTowerConfig):
    """The tower that reads.

    Args:
        vocab_size: Rows of the embedding.
        max_position_embeddings: Tokens of a text at most, its start and its end among them.
        bos_token_id: What begins a text.
        eos_token_id: What ends it, and where CLIP looks what it says.
        pad_token_id: What fills a row behind it.
    """

    vocab_size: int = Field(default=1024, gt=0)
    max_position_embeddings: int = Field(default=24, gt=2)
    bos_token_id: int = Field(default=0, ge=0)
    eos_token_id: int = Field(default=1, ge=0)
    pad_token_id: int = Field(default=1, ge=0)


class ClipVisionConfig(ClipTowerConfig):
    """The tower that sees.

    Args:
        image_size: Height and width of a picture, pixels.
        patch_size: Pixels in a row and in a column that make one token.
        num_channels: Of a picture.
    """

    image_size: int = Field(default=32, gt=0)
    patch_size: int = Field(default=4, gt=0)
    num_channels: Literal[1, 3] = 3

    @model_validator(mode="after")
    def _cut(self) -> "ClipVisionConfig":
        if self.image_size % self.patch_size:
            raise ValueError(f"set patch_size to a divisor of image_size {self.image_size} (got {self.patch_size})")
        return self

    @property
    def patches(self) -> int:
        """Tokens of a picture, without CLIP's class token."""
        return (self.image_size // self.patch_size) ** 2
