"""What a training step of two towers costs: their net, counted."""

from functools import lru_cache

from makar.core.nouns import Cost
from makar.families.clip.build import build
from makar.families.clip.config import ClipConfig
from makar.nets.counting import counted


@lru_cache(maxsize=8)
def cost(config: ClipConfig, length: int) -> Cost:  # noqa: ARG001
    """Parameters, operations and memory for a picture and its text, which is counted at its longest.

    Args:
        config: Of the family.
        length: Of a row of running text; a caption has its own.
    """
    side, tokens = config.vision.image_size, config.text.max_position_embeddings
    shapes = (1, config.vision.num_channels, side, side), (1, tokens)
    count = counted(lambda: build(config), *shapes, whole=(1,))
    return count.cost
