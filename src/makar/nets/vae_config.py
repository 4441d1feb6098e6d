"""The shape of the nets of variational autoencoders; imports no torch."""

from typing import Literal

from pydantic import Field, model_validator

from makar.core.config import Config, Positive


class MlpVaeConfig(Config):
    """Layers over all values of a picture: the best net for small pictures on a small machine.

    Args:
        sample_size: Height and width of a picture, in places.
        in_channels: Of a picture.
        hidden_sizes: Widths of the layers, from the picture to the code; the way back is the mirror.
        latent_size: Numbers in a code.
    """

    kind: Literal["mlp"] = "mlp"
    sample_size: int = Field(default=28, gt=0)
    in_channels: int = Field(default=1, gt=0)
    hidden_sizes: tuple[Positive, ...] = Field(default=(512, 512), min_length=1)
    latent_size: int = Field(default=40, gt=0)

    @property
    def num_classes(self) -> int:
        """Labels that the net is told: none."""
        return 0


class ConvVaeConfig(Config):
    """Residual convolutions, and a code without places.

    Args:
        sample_size: Height and width of a picture, in places; each stage halves them.
        in_channels: Of a picture.
        block_out_channels: Width of each stage, finest first.
        layers_per_block: Residual blocks of a stage, on each way.
        latent_size: Numbers in a code.
    """

    kind: Literal["conv"] = "conv"
    sample_size: int = Field(default=28, gt=0)
    in_channels: int = Field(default=1, gt=0)
    block_out_channels: tuple[Positive, ...] = Field(default=(32, 64), min_length=1)
    layers_per_block: int = Field(default=1, gt=0)
    latent_size: int = Field(default=64, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> "ConvVaeConfig":
        check_halving(self.sample_size, len(self.block_out_channels))
        return self

    @property
    def num_classes(self) -> int:
        """Labels that the net is told: none."""
        return 0


class LadderVaeConfig(Config):
    """Codes at every stage: each is guessed from the coarser ones, and corrected by what is seen.

    Args:
        sample_size: Height and width of a picture, in places; each stage halves them.
        in_channels: Of a picture.
        block_out_channels: Width of each stage, finest first.
        layers_per_block: Residual blocks of a stage, on each way.
        latent_channels: Numbers in a code at every place of a stage, finest first.
    """

    kind: Literal["ladder"] = "ladder"
    sample_size: int = Field(default=28, gt=0)
    in_channels: int = Field(default=1, gt=0)
    block_out_channels: tuple[Positive, ...] = Field(default=(32, 64), min_length=1)
    layers_per_block: int = Field(default=1, gt=0)
    latent_channels: tuple[Positive, ...] = Field(default=(1, 4), min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> "LadderVaeConfig":
        check_halving(self.sample_size, len(self.block_out_channels))
        if len(self.latent_channels) != len(self.block_out_channels):
            raise ValueError(f"give {len(self.block_out_channels)} latent_channels, one for each of block_out_channels")
        return self

    @property
    def num_classes(self) -> int:
        """Labels that the net is told: none."""
        return 0


def check_halving(size: int, stages: int) -> None:
    """Refuse a picture that cannot be halved so often.

    Raises:
        ValueError: Says what to set.
    """
    if size % 2**stages:
        raise ValueError(
            f"set sample_size to a multiple of {2**stages}, or take fewer block_out_channels:"
            f" each of the {stages} stages halves it (got {size})"
        )
