"""What a training step of a model that sees and talks costs: its decoder's arithmetic, and its tower counted."""

from dataclasses import replace
from functools import lru_cache

from torch import Tensor, nn

from makar.core.nouns import Cost
from makar.families.language.config import LanguageConfig
from makar.families.language.cost import cost as language_cost
from makar.families.llava.config import LlavaConfig
from makar.nets.counting import counted
from makar.nets.llava import Images, Llava


class Eyes(nn.Module):
    """The whole net, of which only what sees is run."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__()
        self.net = Llava(config)

    def forward(self, images: Images) -> Tensor:
        """What the decoder is told."""
        return self.net.see(images)


@lru_cache(maxsize=8)
def cost(config: LlavaConfig, length: int) -> Cost:
    """Parameters, operations and memory for rows of some length with one picture each.

    Args:
        config: With its vocabulary filled in.
        length: Tokens that a row predicts, the picture's among them.
    """
    side = config.vision.image_size
    seen = counted(lambda: Eyes(config), (1, config.vision.num_channels, side, side))
    read = language_cost(LanguageConfig(**config.text.model_dump()), length)
    return replace(
        read,
        parameters=seen.parameters,
        flops=read.flops + 3.0 * seen.flops,
        activations=read.activations + seen.kept,
        weight_flops=read.weight_flops + seen.flops,
    )
