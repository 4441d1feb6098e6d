"""Variational autoencoders beside a plain loop: training steps on the negative evidence lower bound.

Ours is `train.step.train_step` as `makar train` runs it. The peer is the loop that everybody writes over the same net:
forward, the bound, backward, clipping, AdamW, with pictures in PyTorch's default order of memory; as it is in float32,
by autocast in bfloat16, and that compiled. All are shown the same pictures and take steps in turn.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import steps
from benchmarks.steps import WAYS, Step
from makar.core.device import Precision, measure
from makar.core.nouns import Model
from makar.families.vae.config import VaeConfig
from makar.families.vae.family import FAMILY
from makar.families.vae.net import Vae
from makar.families.vae.objective import Elbo
from makar.nets.vae_config import LadderVaeConfig, MlpVaeConfig

ROWS = 64

NETS = {
    "layers, a code of 32": MlpVaeConfig(sample_size=28, in_channels=1, hidden_sizes=(512, 512), latent_size=32),
    "ladder of two stages": LadderVaeConfig(
        sample_size=28, in_channels=1, block_out_channels=(32, 64), latent_channels=(1, 4)
    ),
}


def run(repeats: int = 5) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Turns that every way takes; each is at least one step and half a second.

    Returns:
        By net rows a second, the ratios of ours to the others, and memory.
    """
    precision = measure().precision
    return {"precision": precision, **{name: compare(name, precision, repeats) for name in NETS}}


def compare(name: str, precision: Precision, repeats: int) -> dict[str, Any]:
    """Training of one net: every way in turn."""
    torch.compiler.reset()
    make = partial(way_of, name, precision)
    return {
        "parameters": steps.parameters(fresh(name).net),
        **steps.beside(name, {way: make(way) for way in WAYS}, ROWS, repeats),
        "peak_mib": steps.peaks(make, WAYS),
    }


def way_of(name: str, precision: Precision, way: str) -> Step:
    """What takes a step of one net in one way."""
    mine, spoken, compiled = steps.manner(way, precision)
    model, images = fresh(name), shown(name)
    if mine:
        return steps.ours(model, Elbo(), {"images": images}, spoken, compiled=compiled)
    return plain(model.net, images, spoken, compiled=compiled)


def fresh(name: str) -> Model[Vae]:
    """Our model of a name."""
    return steps.fresh(FAMILY, VaeConfig(net=NETS[name]))


def shown(name: str) -> Tensor:
    """Noise in place of pictures."""
    net = NETS[name]
    shape = ROWS, net.in_channels, net.sample_size, net.sample_size
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def plain(net: Vae, images: Tensor, precision: Precision, *, compiled: bool) -> Step:
    """A step of the plain loop over a net, in PyTorch's default order of memory."""
    net.layout = torch.contiguous_format
    return steps.theirs(net, lambda made: bound(made, images, torch.randn(ROWS, net.code_size)), precision,
                        compiled=compiled)  # fmt: skip


def bound(net: Any, images: Tensor, noise: Tensor) -> Tensor:
    """Minus the evidence lower bound, the mean of rows. Paper: arXiv 1312.6114, eq. 3."""
    likelihood, cost = net(images, noise)
    return (cost - likelihood).mean()
