import pytest
import torch

from makar.core.nouns import Model
from makar.families.gan.config import GanConfig
from makar.families.gan.family import FAMILY
from makar.nets.gan_config import R3ganConfig, StyleConfig

SHAPE = {
    "sample_size": 8, "in_channels": 1, "block_out_channels": (8, 8), "layers_per_block": 1, "group_width": 8,
    "latent_size": 6,
}  # fmt: skip


def make(kind="r3gan", classes=3, names=(), seed=0, **more):
    """A tiny model whose blocks do something."""
    shape = {**SHAPE, "num_classes": classes, **more}
    config = GanConfig(
        net=StyleConfig(**shape, style_size=10) if kind == "style" else R3ganConfig(**shape), classes=names
    )
    torch.manual_seed(seed)
    net = FAMILY.build(config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return Model(FAMILY, config, net.eval())


@pytest.fixture(params=["r3gan", "style"])
def model(request):
    return make(request.param, names=("coat", "bag", "T-shirt/top"))
