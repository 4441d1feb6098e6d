"""The shapes of a generator and its critic; imports no torch."""

from typing import Literal

from pydantic import Field, model_validator

from makar.core.config import Config, Positive


class GanShape(Config):
    """What both shapes have.

    Args:
        sample_size: Height and width of a picture, in places.
        in_channels: Of a picture.
        patch_size: Places in a row and in a column that the finest stage takes for one; above 1 a step takes much less
            time, for most of it goes to the finest stage.
        num_classes: Labels that generator and critic are told; 0 for none.
        block_out_channels: Width of each stage, finest first; each next one has half the places in a row.
        layers_per_block: Residual blocks of a stage, or styled convolutions.
        expansion: How many times wider a residual block is inside.
        group_width: Channels of a group in a residual block's 3x3 convolution.
        latent_size: Numbers that a picture is made from, beside its class.
    """

    sample_size: int = Field(default=32, gt=0)
    in_channels: int = Field(default=3, gt=0)
    patch_size: int = Field(default=1, gt=0)
    num_classes: int = Field(default=0, ge=0)
    block_out_channels: tuple[Positive, ...] = Field(default=(48, 96, 192, 192), min_length=1)
    layers_per_block: int = Field(default=2, gt=0)
    expansion: int = Field(default=2, gt=0)
    group_width: int = Field(default=16, gt=0)
    latent_size: int = Field(default=64, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> "GanShape":
        stages = len(self.block_out_channels)
        coarsest = self.patch_size << (stages - 1)
        if self.sample_size % coarsest:
            raise ValueError(
                f"set sample_size to a multiple of {coarsest}, or take fewer block_out_channels:"
                f" patches and each of the {stages} stages divide it (got {self.sample_size})"
            )
        for width in self.block_out_channels:
            if width * self.expansion % self.group_width:
                raise ValueError(f"set group_width to a divisor of expansion * block_out_channels (got {width})")
        return self

    @property
    def base_size(self) -> int:
        """Places in a row of the coarsest stage."""
        return self.sample_size // (self.patch_size << (len(self.block_out_channels) - 1))

    @property
    def patch_channels(self) -> int:
        """Values in a patch."""
        return self.in_channels * self.patch_size**2


class R3ganConfig(GanShape):
    """Residual nets without normalisation: one makes pictures, its mirror judges them. Paper: arXiv 2501.05441."""

    kind: Literal["r3gan"] = "r3gan"


class StyleConfig(GanShape):
    """A generator in the manner of StyleGAN2, whose latent first becomes a style, and the critic of R3GAN.

    Paper: arXiv 1912.04958. Without its noise inputs, which arXiv 2106.12423 found no use for.

    Args:
        style_size: Numbers of a style.
        mapping_layers: From latent to style.
    """

    kind: Literal["style"] = "style"
    style_size: int = Field(default=128, gt=0)
    mapping_layers: int = Field(default=4, gt=0)
