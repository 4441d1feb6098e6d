"""A fresh net of this family, and its repeated parts."""

from collections.abc import Sequence

from torch import nn

from makar.families.vae.config import VaeConfig
from makar.families.vae.net import Vae
from makar.nets.vae_blocks import Residual


def build(config: VaeConfig) -> Vae:
    """The net that a config asks for, from torch's global generator."""
    net = Vae(config)
    for parameter in net.parameters():
        if parameter.ndim == 4:  # noqa: PLR2004 - of convolutions, as the pictures are laid out for them
            parameter.data = parameter.data.contiguous(memory_format=net.layout)
    return net


def blocks(net: Vae) -> Sequence[nn.Module]:
    """The residual blocks; of a net of layers, those layers."""
    residual = [module for module in net.modules() if isinstance(module, Residual)]
    return residual or [module for module in net.modules() if isinstance(module, nn.Linear)]
