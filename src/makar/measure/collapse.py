"""Whether made pictures are as various as real ones, in features that need no training: a collapse shows there."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from makar.core.random import Rng

Images = Float[Tensor, "rows channels high wide"]

WIDTHS = (32, 64)
"""Channels of the random layers."""

PLACES = 4
"""In a row and in a column of what the last layer says."""


def random_features(images: Images) -> Float[Tensor, "rows features"]:
    """What a fixed net of random weights says of pictures: near for like pictures, whatever they show.

    Two convolutions with rectifiers, each followed by pooling, the second down to 4x4 places.

    Args:
        images: In -1 to 1.
    """
    x = images
    for number, width in enumerate(WIDTHS):
        fan_in = x.shape[1] * 9
        drawn = Rng(number, 0, torch.arange(width)).normal("random features", x.shape[1], 3, 3)
        x = F.relu(F.conv2d(x, drawn.to(x) * (2 / fan_in) ** 0.5, padding=1))
        x = F.avg_pool2d(x, 2) if number + 1 < len(WIDTHS) else F.adaptive_avg_pool2d(x, PLACES)
    return x.flatten(1)


def spread(features: Float[Tensor, "rows features"], labels: Int[Tensor, " rows"]) -> float:
    """Mean distance between two rows of the same label.

    Args:
        features: Of pictures.
        labels: Their classes; all alike where there are none.

    Returns:
        0 where all pictures of a class are one, and where no class has two.
    """
    same = labels[:, None] == labels
    same.fill_diagonal_(fill_value=False)
    apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")  # of equal rows exactly 0
    return float(apart[same].mean()) if bool(same.any()) else 0.0
