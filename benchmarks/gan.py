"""A GAN's training step with R1 and R2 beside a plain loop over the same nets: gradients of both players, no optimizer.

The plain loop is what the paper's formulas say, line by line, over PyTorch's own convolutions in its default order of
memory: the critic sees real and made pictures one after the other, each penalty takes its own gradient, and `backward`
fills whatever can be filled. Both take turns.
"""

import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from makar.core.nouns import Batch, Model
from makar.core.random import Rng
from makar.families.gan.config import GanConfig
from makar.families.gan.family import FAMILY
from makar.families.gan.objective import Relativistic
from makar.nets.gan_config import R3ganConfig
from makar.nets.twice import Convolution

ROWS = 64

SHAPES = {
    "28 px, 16-48-96": R3ganConfig(
        sample_size=28, in_channels=1, num_classes=10, block_out_channels=(16, 48, 96), layers_per_block=1
    ),
    "28 px in patches, 64-128": R3ganConfig(
        sample_size=28, in_channels=1, num_classes=10, patch_size=2, block_out_channels=(64, 128), layers_per_block=1
    ),
}


def run(repeats: int = 5) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Turns that each way takes.

    Returns:
        By shape the seconds of processor time of a step either way, and the median of the ratios.
    """
    return {name: compare(shape, repeats) for name, shape in SHAPES.items()}


def compare(shape: R3ganConfig, repeats: int) -> dict[str, float]:
    """One shape: both ways in turn."""
    torch.manual_seed(0)
    config = GanConfig(net=shape)
    model, game = Model(FAMILY, config, FAMILY.build(config)), Relativistic()
    side = shape.sample_size
    images, labels = torch.randn(ROWS, shape.in_channels, side, side), torch.arange(ROWS) % shape.num_classes
    batch = game.prepare(model, {"images": images, "label": labels}, Rng(0, 5, torch.arange(ROWS)))
    ways = {"ours": lambda: ours(model, game, batch), "plain loop": lambda: plain(model, batch)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            seconds = timed(way)
            model.net.zero_grad()
            if turn:  # the first warms up
                found[name].append(seconds)
    ratios = [theirs / mine for theirs, mine in zip(found["plain loop"], found["ours"], strict=True)]
    least = {name: round(min(each), 3) for name, each in found.items()}
    return {**least, "ratio": round(statistics.median(ratios), 2)}


def timed(work: Callable[[], None]) -> float:
    """Processor seconds of all threads: what else runs on the machine does not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def ours(model: Model[Any], game: Relativistic, batch: Batch) -> None:
    """Both turns, as the trainer takes them."""
    for player in game.players:
        mine = list(model.net.get_submodule(player).parameters())
        game(model, batch, player, Rng(0, 5, torch.arange(ROWS), player)).sum.backward(inputs=mine)


@contextmanager
def plainly() -> Generator[None]:
    """The same nets over PyTorch's own convolutions, in its default order of memory."""
    forward, order = Convolution.forward, torch.channels_last
    Convolution.forward, torch.channels_last = nn.Conv2d.forward, torch.contiguous_format
    try:
        yield
    finally:
        Convolution.forward, torch.channels_last = forward, order


@plainly()
def plain(model: Model[Any], batch: Batch) -> None:
    """Both turns, as the paper writes them."""
    net, real, labels, gamma = model.net, batch["images"], batch["label"], batch["gamma"]
    made = net.generator(torch.randn(ROWS, net.generator.latent_size), labels).detach()
    scores: list[Tensor] = []
    penalties: list[Tensor] = []
    for images in (real, made):
        shown = images.clone().requires_grad_()
        scores.append(net.critic(shown, labels))
        (gradient,) = torch.autograd.grad(scores[-1].sum(), shown, create_graph=True)
        penalties.append(gradient.square().sum((1, 2, 3)))
    loss = F.softplus(scores[1] - scores[0]) + gamma / 2 * (penalties[0] + penalties[1])
    loss.sum().backward()
    made = net.generator(torch.randn(ROWS, net.generator.latent_size), labels)
    F.softplus(net.critic(real, labels) - net.critic(made, labels)).sum().backward()
