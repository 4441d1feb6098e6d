"""A running average of the weights: steadier than the last ones, and what is judged and saved."""

# torch's _foreach functions have no public names.
# pyright: reportPrivateImportUsage=false

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

RAMP = 0.05  # Karras et al. 2022, arXiv:2206.00364, appendix F.2: early on, average over the last 5% of the steps

Average = dict[str, Tensor]
"""Averaged parameters by name."""


def average_of(net: nn.Module) -> Average:
    """A fresh average, equal to the weights that are trained; frozen ones are their own."""
    return {name: p.detach().clone() for name, p in net.named_parameters() if p.requires_grad}


@torch.no_grad()
def update_average(average: Average, net: nn.Module, halflife: float, step: int) -> None:
    """Move the average towards the weights after a step.

    Args:
        average: Changed in place.
        net: The weights.
        halflife: Steps until half of the old is left.
        step: From 0; the half-life is at most 5% of the steps so far.
    """
    decay = 0.5 ** (1 / min(halflife, max(RAMP * (step + 1), 1e-8)))
    trained: list[Tensor] = [p for name, p in net.named_parameters() if name in average]
    torch._foreach_lerp_(list(average.values()), trained, 1 - decay)


@contextmanager
def averaged(net: nn.Module, average: Average | None) -> Generator[None]:
    """Show the net with its averaged weights; afterwards the trained ones are back, to the bit."""
    swap(net, average)
    try:
        yield
    finally:
        swap(net, average)


def swap(net: nn.Module, average: Average | None) -> None:
    """Exchange weights and average."""
    for name, parameter in net.named_parameters():
        if average is not None and name in average:
            parameter.data, average[name] = average[name], parameter.data
