"""The shape of nets that make pictures small and whole again, in the field names of diffusers; imports no torch."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from makar.core.config import Config, Positive
from makar.nets.image_config import ATTENDED, default_groups


def default_attention(known: dict[str, Any]) -> bool:
    """Attention in the middle where that is at most 16 places high."""
    return known["sample_size"] >> (len(known["block_out_channels"]) - 1) <= ATTENDED


class KLBottleneck(Config):
    """A Gaussian for each place, as in diffusers' `AutoencoderKL`. Paper: arXiv 2112.10752, section 3.1.

    Args:
        latent_channels: Numbers for each place.
        use_quant_conv: Whether a convolution stands behind the encoder.
        use_post_quant_conv: Whether one stands before the decoder.
    """

    kind: Literal["kl"] = "kl"
    latent_channels: int = Field(default=4, gt=0)
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True


class VQBottleneck(Config):
    """One of some learned vectors for each place, as in diffusers' `VQModel`. Paper: arXiv 1711.00937.

    Args:
        num_vq_embeddings: Vectors in the codebook.
        vq_embed_dim: Numbers in each.
        decay: What a step leaves of the running averages that the vectors are. Paper: appendix A.1.
        revive: A vector that is used less than this share of its even part is set on a place of a picture of the batch.
    """

    kind: Literal["vq"] = "vq"
    num_vq_embeddings: int = Field(default=1024, gt=1)
    vq_embed_dim: int = Field(default=8, gt=0)
    decay: float = Field(default=0.99, ge=0, lt=1)
    revive: float = Field(default=0.1, ge=0, lt=1)

    @property
    def latent_channels(self) -> int:
        """Numbers for each place."""
        return self.vq_embed_dim

    @property
    def codes(self) -> int:
        """How many there are."""
        return self.num_vq_embeddings


class FSQBottleneck(Config):
    """Each of a few numbers rounded to some levels; nothing is learned. Paper: arXiv 2309.15505.

    Args:
        levels: Of each number; their product is how many codes there are. Table 1 of the paper has good ones.
    """

    kind: Literal["fsq"] = "fsq"
    levels: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(8, 5, 5, 5), min_length=1)

    @property
    def latent_channels(self) -> int:
        """Numbers for each place."""
        return len(self.levels)

    @property
    def codes(self) -> int:
        """How many there are."""
        return math.prod(self.levels)


class LFQBottleneck(Config):
    """The sign of each of a few numbers. Paper: arXiv 2310.05737, section 3.1.

    Args:
        bits: How many; there are 2 to the power of that many codes.
        temperature: Of the probabilities whose entropy the loss sees; lower is harder.
    """

    kind: Literal["lfq"] = "lfq"
    bits: int = Field(default=10, gt=0, le=16)
    temperature: float = Field(default=0.25, gt=0)

    @property
    def latent_channels(self) -> int:
        """Numbers for each place."""
        return self.bits

    @property
    def codes(self) -> int:
        """How many there are."""
        return 2**self.bits


AnyBottleneck = KLBottleneck | VQBottleneck | FSQBottleneck | LFQBottleneck


class AutoencoderNetConfig(Config):
    """An autoencoder of pictures: `AutoencoderKL` or `VQModel` of diffusers, by its bottleneck.

    Args:
        sample_size: Height and width of a picture, in pixels.
        in_channels: Of a picture.
        out_channels: Of what comes out; as many by default.
        block_out_channels: Width of each stage, finest first; each next one has half the places in a row. Three make
            each 4x4 pixels one place ("f4").
        layers_per_block: Residual blocks of a stage in the encoder; one more in the decoder.
        norm_num_groups: Groups of each normalisation; by default 32, or fewer so that each has 4 channels.
        mid_block_add_attention: Whether the coarsest stage attends; by default where it is 16 places high or less.
        bottleneck: What a place becomes: "kl" a Gaussian, "vq", "fsq" or "lfq" one of some codes.
    """

    sample_size: int = Field(default=32, gt=0)
    in_channels: int = Field(default=3, gt=0)
    out_channels: int = Field(default_factory=lambda known: known["in_channels"], gt=0)
    block_out_channels: tuple[Positive, ...] = Field(default=(32, 64, 128), min_length=1)
    layers_per_block: int = Field(default=1, gt=0)
    norm_num_groups: int = Field(default_factory=default_groups, gt=0)
    mid_block_add_attention: bool = Field(default_factory=default_attention)
    bottleneck: Annotated[KLBottleneck | VQBottleneck | FSQBottleneck | LFQBottleneck, Field(discriminator="kind")] = (
        KLBottleneck()
    )

    @model_validator(mode="after")
    def _fits(self) -> "AutoencoderNetConfig":
        if self.sample_size % self.factor:
            raise ValueError(
                f"set sample_size to a multiple of {self.factor}, or take fewer block_out_channels:"
                f" each stage but the first halves it (got {self.sample_size})"
            )
        for width in self.block_out_channels:
            if width % self.norm_num_groups:
                raise ValueError(f"set norm_num_groups to a divisor of all block_out_channels (got {width})")
        return self

    @property
    def factor(self) -> int:
        """Pixels in a row that become one place."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def latent_size(self) -> int:
        """Places in a row."""
        return self.sample_size // self.factor

    @property
    def num_classes(self) -> int:
        """It is told no labels."""
        return 0


class CriticConfig(Config):
    """A net that judges patches, real or made. Paper: arXiv 1611.07004, section 3.2.2.

    Args:
        block_out_channels: Width of each stage; each halves the places in a row.
    """

    block_out_channels: tuple[Positive, ...] = Field(default=(64, 128), min_length=1)
