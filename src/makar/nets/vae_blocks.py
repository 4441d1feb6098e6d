"""Residual convolutions that halve a picture's sides, and double them again."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Maps = Float[Tensor, "rows channels high wide"]


class Residual(nn.Module):
    """Two convolutions beside what came in; the second begins at 0, so that a deep net begins as a shallow one.

    Without normalisations, which would cost more than the convolutions do on a small machine.

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Maps) -> Maps:
        """What came in, and what was found in it."""
        return x + self.conv_2(F.silu(self.conv_1(F.silu(x))))


def climb(before: int, after: int, depth: int) -> nn.Sequential:
    """A stage to half the side: one strided convolution, then residual blocks."""
    return nn.Sequential(nn.Conv2d(before, after, 4, stride=2, padding=1), *(Residual(after) for _ in range(depth)))


def descend(before: int, after: int, depth: int) -> nn.Sequential:
    """A stage to twice the side: residual blocks, then one transposed convolution."""
    last = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
    return nn.Sequential(*(Residual(before) for _ in range(depth)), nn.SiLU(), last)
