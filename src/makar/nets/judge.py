"""A small convolutional net that says several things of a picture at once: one head for each."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from makar.nets.classifier import layer

SIDE = 32
"""Pictures are looked at in this size; larger ones are made smaller first."""

WIDTHS = (48, 96, 192)
"""Channels at 16, 8 and 4 places a side."""

SEEN = 256
"""Numbers that all heads read: where things are is still in them."""


class PictureJudge(nn.Module):
    """Convolutions and halvings down to 4 x 4 places, one layer over all of them, and a linear head for each question.

    Args:
        heads: How many answers each question has, by its name.
    """

    def __init__(self, heads: Mapping[str, int]) -> None:
        super().__init__()
        first, middle, last = WIDTHS
        stages = [
            nn.Sequential(
                nn.Conv2d(3, first, 5, stride=2, padding=2, bias=False),
                nn.BatchNorm2d(first),
                nn.ReLU(),
                *layer(first, first),
                nn.MaxPool2d(2),
            ),
            nn.Sequential(*layer(first, middle), *layer(middle, middle), nn.MaxPool2d(2)),
            nn.Sequential(*layer(middle, last), *layer(last, last)),
        ]
        self.stages = nn.ModuleList(stages)
        places = (SIDE // 8) ** 2
        self.whole = nn.Sequential(nn.Flatten(), nn.Linear(places * last, SEEN), nn.BatchNorm1d(SEEN), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(SEEN, answers) for name, answers in heads.items()})

    def features(self, images: Float[Tensor, "rows 3 high wide"]) -> Float[Tensor, "rows dims"]:
        """What is seen, before it is named; every number is 0 or more."""
        if images.shape[-1] != SIDE:
            images = F.interpolate(images, (SIDE, SIDE), mode="area")
        for stage in self.stages:
            images = stage(images)
        return self.whole(images)

    def forward(self, images: Float[Tensor, "rows 3 high wide"]) -> dict[str, Float[Tensor, "rows answers"]]:
        """Logits of the answers to each question.

        Args:
            images: In -1 to 1.
        """
        seen = self.features(images)
        return {name: head(seen) for name, head in self.heads.items()}
