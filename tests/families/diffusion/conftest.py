import pytest
import torch

from makar.core.nouns import Model
from makar.families.diffusion.config import DdpmPath, DiffusionConfig, EdmPath, FlowPath
from makar.families.diffusion.family import FAMILY
from makar.nets.image_config import DiTConfig, UNetConfig

PATHS = {"ddpm": DdpmPath(), "edm": EdmPath(), "flow": FlowPath()}


@torch.no_grad()
def shaken(net):
    """A net that says something."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2 + (parameter.dim() == 1))
    return net


def make(net="unet", path="flow", prediction="velocity", classes=3, names=()):
    """A tiny model that says something."""
    shape = {"sample_size": 8, "in_channels": 1, "num_classes": classes}
    if net == "unet":
        net = UNetConfig(**shape, block_out_channels=(8, 8), down_block_types=("DownBlock2D",) * 2, layers_per_block=1)
    else:
        net = DiTConfig(**shape, num_layers=1, num_attention_heads=2, attention_head_dim=8)
    config = DiffusionConfig(net=net, path=PATHS[path], prediction=prediction, classes=names)
    return Model(FAMILY, config, shaken(FAMILY.build(config)).eval())


@pytest.fixture
def model():
    return make()
