"""What a training step of a variational autoencoder costs: its net, counted."""

from functools import lru_cache

from makar.core.nouns import Cost
from makar.families.vae.build import build
from makar.families.vae.config import VaeConfig
from makar.nets.counting import counted


@lru_cache(maxsize=8)
def cost(config: VaeConfig, length: int) -> Cost:  # noqa: ARG001
    """Parameters, operations and memory for a picture, with one code drawn for it.

    Args:
        config: Of the family.
        length: Of a row of tokens; a picture has none.
    """
    side = config.net.sample_size
    count = counted(lambda: build(config), (1, config.net.in_channels, side, side), (1, code_size(config)))
    return count.cost


def code_size(config: VaeConfig) -> int:
    """Numbers in a code."""
    shape = config.net
    if shape.kind != "ladder":
        return shape.latent_size
    return sum(count * (shape.sample_size >> at) ** 2 for at, count in enumerate(shape.latent_channels, 1))
