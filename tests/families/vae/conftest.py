import pytest
import torch

from makar.core.nouns import Model
from makar.core.random import Rng
from makar.families.vae.config import VaeConfig
from makar.families.vae.family import FAMILY

NETS = {
    "mlp": {"kind": "mlp", "hidden_sizes": [16], "latent_size": 3},
    "conv": {"kind": "conv", "block_out_channels": [4, 8], "latent_size": 3},
    "ladder": {"kind": "ladder", "block_out_channels": [4, 8], "latent_channels": [1, 2]},
}


def rng(rows, seed=0, step=0):
    """The draws of so many rows."""
    return Rng(seed, step, torch.arange(rows))


def make(net="mlp", likelihood="logistic", channels=1, scale=0.3, **more):
    """A tiny model that says something."""
    config = VaeConfig(net={**NETS[net], "sample_size": 8, "in_channels": channels}, likelihood=likelihood, **more)
    torch.manual_seed(0)
    built = FAMILY.build(config)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return Model(FAMILY, config, built.eval())


@pytest.fixture
def images():
    """Smooth pictures of all grays."""
    torch.manual_seed(1)
    coarse = torch.rand(4, 1, 3, 3) * 2 - 1
    levels = torch.nn.functional.interpolate(coarse, (8, 8), mode="bilinear").clamp(-1, 1)
    return ((levels + 1) * 127.5).round() / 127.5 - 1
