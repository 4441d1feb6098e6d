"""A net that judges patches of pictures, real or made. Paper: arXiv 1611.07004, section 3.2.2."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from makar.nets.autoencoder_config import CriticConfig
from makar.nets.image_config import default_groups

SLOPE = 0.2
"""Of the activations, below zero."""


class PatchCritic(nn.Module):
    """Convolutions that halve the places, and one number for each place that is left.

    Its norms see one row each, so what it says of a picture depends on no other.

    Args:
        config: Its widths.
        channels: Of a picture.
    """

    def __init__(self, config: CriticConfig, channels: int) -> None:
        super().__init__()
        widths = config.block_out_channels
        pairs = zip((channels, *widths), widths, strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(width, out, 4, stride=2, padding=1) for width, out in pairs)
        groups = default_groups({"block_out_channels": widths})
        self.norms = nn.ModuleList(nn.GroupNorm(groups, width) for width in widths[1:])
        self.conv_out = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, images: Float[Tensor, "rows channels high wide"]) -> Float[Tensor, "rows lines places"]:
        """How real each patch looks."""
        x = F.leaky_relu(self.convs[0](images), SLOPE)
        for conv, norm in zip(list(self.convs)[1:], self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), SLOPE)
        return self.conv_out(x)[:, 0]
