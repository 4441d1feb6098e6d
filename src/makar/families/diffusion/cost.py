"""What a training step of a diffusion model costs: its net, counted."""

from functools import lru_cache

from makar.core.nouns import Cost
from makar.families.diffusion.build import build
from makar.families.diffusion.config import DiffusionConfig
from makar.nets.counting import counted
from makar.nets.mmdit_config import MMDiTConfig

CAPTION = 32
"""Tokens of a text, about: how many there are is the text tower's to say."""


@lru_cache(maxsize=8)
def cost(config: DiffusionConfig, length: int) -> Cost:  # noqa: ARG001
    """Parameters, operations and memory for a picture.

    Args:
        config: Of the family.
        length: Of a row of tokens; a picture has none.
    """
    net, told, whole = config.net, (), ()
    if isinstance(net, MMDiTConfig):
        told = ((1, CAPTION, net.joint_attention_dim), (1, net.pooled_projection_dim))
        told += ((1, net.control_channels, net.sample_size, net.sample_size),) if net.control else ()
    elif net.num_classes:
        told, whole = ((1,),), (2,)
    picture = (1, net.in_channels, net.sample_size, net.sample_size)
    count = counted(lambda: build(config), picture, (1,), *told, whole=whole)
    return count.cost
