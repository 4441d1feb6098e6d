"""The shape of the nets that work on pictures, in the field names of diffusers; imports no torch."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from makar.core.config import Config, Positive

DownBlock = Literal["DownBlock2D", "AttnDownBlock2D"]
UpBlock = Literal["UpBlock2D", "AttnUpBlock2D"]

ATTENDED = 16
"""Attention by default where a picture is at most so many places high: beyond, it costs more than all convolutions."""


def default_down_blocks(known: dict[str, Any]) -> tuple[str, ...]:
    """Attention at the coarse stages."""
    sizes = [known["sample_size"] >> stage for stage in range(len(known["block_out_channels"]))]
    return tuple("AttnDownBlock2D" if size <= ATTENDED else "DownBlock2D" for size in sizes)


def default_up_blocks(known: dict[str, Any]) -> tuple[str, ...]:
    """The way down, mirrored."""
    return tuple(kind.replace("Down", "Up") for kind in reversed(known["down_block_types"]))


def default_groups(known: dict[str, Any]) -> int:
    """Up to 32 groups, of at least 4 channels."""
    groups = math.gcd(32, *known["block_out_channels"])
    while groups > 1 and min(known["block_out_channels"]) < 4 * groups:
        groups //= 2
    return groups


class UNetConfig(Config):
    """A U-Net, a subset of diffusers' `UNet2DModel`. Channels are enough; the rest follows.

    Args:
        sample_size: Height and width of a picture, in places.
        in_channels: Of a picture.
        out_channels: Of what comes out; as many by default.
        block_out_channels: Width of each stage, finest first; each next one has half the places in a row.
        down_block_types: Whether each stage attends on the way down; by default where it is 16 places high or less.
        up_block_types: The same on the way up, coarsest first; by default the mirror.
        layers_per_block: Residual blocks of a stage on the way down; one more on the way up.
        attention_head_dim: Width of a head; by default 64 or the largest smaller power of two that divides all widths.
        norm_num_groups: Groups of each normalisation; by default 32, or fewer so that each has 4 channels.
        norm_eps: Added to the variance.
        resnet_time_scale_shift: Whether the time embedding only shifts ("default"), or scales and shifts.
        add_attention: Whether the middle attends.
        dropout: Inside the residual blocks.
        flip_sin_to_cos: Whether the cosines of the time embedding come first.
        freq_shift: Of the time embedding's frequencies.
        downsample_padding: 1, or 0 for padding at the far sides only.
        num_classes: Labels that the net can be told; 0 for none.
        null_class: Whether one more stands for "no label", which guidance needs.
    """

    kind: Literal["unet"] = "unet"
    sample_size: int = Field(default=32, gt=0)
    in_channels: int = Field(default=3, gt=0)
    out_channels: int = Field(default_factory=lambda known: known["in_channels"], gt=0)
    block_out_channels: tuple[Positive, ...] = Field(default=(64, 128, 192), min_length=1)
    down_block_types: tuple[DownBlock, ...] = Field(default_factory=default_down_blocks)  # pyright: ignore[reportArgumentType, reportAssignmentType]
    up_block_types: tuple[UpBlock, ...] = Field(default_factory=default_up_blocks)  # pyright: ignore[reportArgumentType, reportAssignmentType]
    layers_per_block: int = Field(default=2, gt=0)
    attention_head_dim: int = Field(default_factory=lambda known: math.gcd(64, *known["block_out_channels"]), gt=0)
    norm_num_groups: int = Field(default_factory=default_groups, gt=0)
    norm_eps: float = Field(default=1e-5, gt=0)
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    add_attention: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    flip_sin_to_cos: bool = True
    freq_shift: int = 0
    downsample_padding: Literal[0, 1] = 1
    num_classes: int = Field(default=0, ge=0)
    null_class: bool = True

    @model_validator(mode="after")
    def _fits(self) -> "UNetConfig":
        stages, coarsest = len(self.block_out_channels), 2 ** (len(self.block_out_channels) - 1)
        if len(self.down_block_types) != stages or len(self.up_block_types) != stages:
            raise ValueError(f"give {stages} down_block_types and up_block_types, one for each of block_out_channels")
        if self.sample_size % coarsest:
            raise ValueError(
                f"set sample_size to a multiple of {coarsest}, or take fewer block_out_channels:"
                f" each of the {stages} stages halves it (got {self.sample_size})"
            )
        for width in self.block_out_channels:
            if width % self.norm_num_groups:
                raise ValueError(f"set norm_num_groups to a divisor of all block_out_channels (got {width})")
            if width == self.norm_num_groups and self.resnet_time_scale_shift == "default":
                raise ValueError(
                    f"set norm_num_groups below {width}: a group of one channel forgets what time is added"
                )
            if width % self.attention_head_dim:
                raise ValueError(f"set attention_head_dim to a divisor of all block_out_channels (got {width})")
        return self


class DiTConfig(Config):
    """A diffusion transformer with adaLN-zero, a subset of diffusers' `DiTTransformer2DModel`.

    Args:
        sample_size: Height and width of a picture, in places.
        in_channels: Of a picture.
        out_channels: Of what comes out; as many by default.
        patch_size: Places in a row and in a column that make one token.
        num_layers: Depth.
        num_attention_heads: Heads.
        attention_head_dim: Width of a head; the net is `num_attention_heads * attention_head_dim` wide.
        norm_eps: Added to the variance before the feed-forward layers.
        num_classes: Labels that the net can be told, one more stands for "no label"; 0 for none.
    """

    kind: Literal["dit"] = "dit"
    sample_size: int = Field(default=32, gt=0)
    in_channels: int = Field(default=3, gt=0)
    out_channels: int = Field(default_factory=lambda known: known["in_channels"], gt=0)
    patch_size: int = Field(default=2, gt=0)
    num_layers: int = Field(default=6, gt=0)
    num_attention_heads: int = Field(default=4, gt=0)
    attention_head_dim: int = Field(default=64, gt=0)
    norm_eps: float = Field(default=1e-5, gt=0)
    num_classes: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> "DiTConfig":
        if self.sample_size % self.patch_size:
            raise ValueError(f"set patch_size to a divisor of sample_size {self.sample_size} (got {self.patch_size})")
        if self.attention_head_dim * self.num_attention_heads % 4:
            raise ValueError("set num_attention_heads * attention_head_dim to a multiple of 4, for positions")
        return self

    @property
    def null_class(self) -> bool:
        """One more label than there are classes stands for "no label"."""
        return True
