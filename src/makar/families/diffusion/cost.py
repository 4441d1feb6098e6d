"""What a training step of a diffusion model costs: its net, counted."""

from functools import lru_cache

from makar.core.nouns import Cost
from makar.families.diffusion.build import build
from makar.families.diffusion.config import DiffusionConfig
from makar.nets.counting import counted


@lru_cache(maxsize=8)
def cost(config: DiffusionConfig, length: int) -> Cost:  # noqa: ARG001
    """Parameters, operations and memory for a picture.

    Args:
        config: Of the family.
        length: Of a row of tokens; a picture has none.
    """
    side = config.net.sample_size
    inputs = ((1, config.net.in_channels, side, side), (1,), *(((1,),) if config.net.num_classes else ()))
    count = counted(lambda: build(config), *inputs, whole=(2,))
    return Cost(
        parameters=count.parameters,
        flops=3.0 * count.flops,  # backward does each product twice: for what came in and for the weights
        activations=float(count.kept),
        units=("images", 1),
        weight_flops=float(count.flops),
    )
