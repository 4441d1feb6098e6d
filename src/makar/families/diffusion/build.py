"""A fresh net of this family, and its repeated parts."""

from collections.abc import Sequence

from torch import nn

from makar.families.diffusion.config import DiffusionConfig
from makar.nets.dit import DiT
from makar.nets.image_blocks import ResnetBlock, SelfAttention
from makar.nets.image_config import DiTConfig, UNetConfig
from makar.nets.mmdit import MMDiT
from makar.nets.mmdit_control import Controlled
from makar.nets.unet import UNet

Net = UNet | DiT | MMDiT | Controlled


def build(config: DiffusionConfig) -> Net:
    """The net that a config asks for, from torch's global generator."""
    if isinstance(config.net, UNetConfig):
        return UNet(config.net)
    if isinstance(config.net, DiTConfig):
        return DiT(config.net)
    return Controlled(config.net) if config.net.control else MMDiT(config.net)


def blocks(net: Net) -> Sequence[nn.Module]:
    """The transformer's blocks; of a U-Net its residual blocks and attentions."""
    if isinstance(net, Controlled):
        return net.blocks
    if isinstance(net, DiT | MMDiT):
        return list(net.transformer_blocks)
    return [module for module in net.modules() if isinstance(module, ResnetBlock | SelfAttention)]
