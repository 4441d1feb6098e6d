"""A small convolutional classifier, and the features that it sees before it decides."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Images = Float[Tensor, "rows channels high wide"]

WIDTHS = (32, 64, 128)
"""Channels after each halving; the last stays."""

SMALL = 8
"""Halving ends at this side."""


class PictureClassifier(nn.Module):
    """Convolutions, halvings, a mean over places, one linear layer.

    Args:
        channels: Of the pictures.
        size: Their side in pixels.
        classes: How many to tell apart.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        wide, side, stage = channels, size, 0
        while side > SMALL or stage < 2:
            after = WIDTHS[min(stage, len(WIDTHS) - 1)]
            stages.append(nn.Sequential(*layer(wide, after), nn.MaxPool2d(2)))
            wide, side, stage = after, side // 2, stage + 1
        stages.append(nn.Sequential(*layer(wide, WIDTHS[-1]), *layer(WIDTHS[-1], WIDTHS[-1])))
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(WIDTHS[-1], classes)

    def features(self, images: Images) -> Float[Tensor, "rows dims"]:
        """What is seen, before it is named; every number is 0 or more."""
        for stage in self.stages:
            images = stage(images)
        return images.mean((2, 3))

    def forward(self, images: Images) -> Float[Tensor, "rows classes"]:
        """Logits of the classes.

        Args:
            images: In -1 to 1.
        """
        return self.head(self.features(images))


def layer(wide: int, after: int) -> tuple[nn.Module, ...]:
    """A convolution with its norm."""
    return nn.Conv2d(wide, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()


def turned(images: Images, quarters: Tensor) -> Images:
    """Rows turned by their number of quarter turns: what a net can learn to see where nobody has named anything.

    Paper: arXiv 1803.07728, section 2.1.
    """
    ways = torch.stack([images.rot90(k, (2, 3)) for k in range(4)])
    return ways[quarters, torch.arange(len(images), device=images.device)]
