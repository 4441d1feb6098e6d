"""What a training step of an autoencoder costs: its net, counted."""

from functools import lru_cache

from makar.core.nouns import Cost
from makar.families.autoencoder.build import build
from makar.families.autoencoder.config import AutoencoderConfig
from makar.nets.counting import counted


@lru_cache(maxsize=8)
def cost(config: AutoencoderConfig, length: int) -> Cost:  # noqa: ARG001
    """Parameters, operations and memory for a picture.

    Args:
        config: Of the family; with a critic, both players' turns are counted as one pass through both.
        length: Of a row of tokens; a picture has none.
    """
    side = config.net.sample_size
    count = counted(lambda: build(config), (1, config.net.in_channels, side, side))
    return count.cost
