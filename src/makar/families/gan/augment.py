"""What the critic is shown in place of pictures, so that it cannot learn few of them by heart.

Each row is moved, turned, scaled, recoloured and partly covered, each with the same probability and keyed by the row;
the generator's gradient flows through. Paper: arXiv 2006.06676, section 2 and appendix B.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.core.random import Rng

Images = Float[Tensor, "rows channels high wide"]

MOVE = 0.125
"""Of the side, the largest shift."""

STRETCH = 0.2
"""Standard deviation of the logarithm (to 2) of the size."""

COVER = 0.5
"""Of the side, a covered square's."""


def augment(images: Images, share: Float[Tensor, " rows"], rng: Rng) -> Images:
    """Change rows at random.

    Args:
        images: In -1 to 1.
        share: The probability of each change.
        rng: Of the rows.
    """
    if not bool(share.any()):
        return images
    drawn = rng.uniform("changes", 6) < share[:, None]
    amount = rng.uniform("amounts", 8)
    images = moved(images, drawn[:, :3], 2 * amount[:, :4] - 1)
    images = recoloured(images, drawn[:, 3:5], 2 * amount[:, 4:6] - 1)
    return covered(images, drawn[:, 5], amount[:, 6:])


def moved(images: Images, drawn: Tensor, amount: Tensor) -> Images:
    """Shifted, scaled and turned, each where drawn; what comes in from outside is the mirrored picture."""
    rows = len(images)
    shift = 2 * MOVE * amount[:, :2] * drawn[:, :1]
    size = torch.exp2(math.sqrt(3) * STRETCH * amount[:, 2] * drawn[:, 1])
    angle = math.pi / 8 * amount[:, 3] * drawn[:, 2]
    cos, sin = angle.cos() * size, angle.sin() * size
    boxes = torch.stack((cos, -sin, shift[:, 0], sin, cos, shift[:, 1]), 1).view(rows, 2, 3)
    grid = F.affine_grid(boxes, list(images.shape), align_corners=False)
    turned = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return torch.where(drawn.any(1)[:, None, None, None], turned, images)


def recoloured(images: Images, drawn: Tensor, amount: Tensor) -> Images:
    """Brighter or darker, and of more or less contrast, each where drawn."""
    brightness, contrast = 0.35 * amount[:, 0] * drawn[:, 0], torch.exp2(0.8 * amount[:, 1] * drawn[:, 1])
    return images * contrast[:, None, None, None] + brightness[:, None, None, None]


def covered(images: Images, drawn: Tensor, place: Float[Tensor, "rows 2"]) -> Images:
    """A gray square of half the side over them, where drawn."""
    far = [
        ((torch.arange(size, device=images.device) + 0.5) / size - place[:, axis, None]).abs() < COVER / 2
        for axis, size in enumerate(images.shape[2:])
    ]
    hidden = far[0][:, None, :, None] & far[1][:, None, None, :] & drawn[:, None, None, None]
    return images.masked_fill(hidden, 0.0)
