"""A fresh net of this family, and its repeated parts."""

from collections.abc import Sequence

from torch import nn

from makar.families.diffusion.config import DiffusionConfig
from makar.nets.dit import DiT
from makar.nets.image_blocks import ResnetBlock, SelfAttention
from makar.nets.image_config import UNetConfig
from makar.nets.unet import UNet


def build(config: DiffusionConfig) -> UNet | DiT:
    """The net that a config asks for, from torch's global generator."""
    return UNet(config.net) if isinstance(config.net, UNetConfig) else DiT(config.net)


def blocks(net: UNet | DiT) -> Sequence[nn.Module]:
    """The transformer's blocks; of a U-Net its residual blocks and attentions."""
    if isinstance(net, DiT):
        return list(net.transformer_blocks)
    return [module for module in net.modules() if isinstance(module, ResnetBlock | SelfAttention)]
