"""How far two sets of features lie apart, without taking them for bells: the kernel distance (KID)."""

import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import InputError
from makar.core.random import numpy_rng
from makar.measure.frechet import Features

DEGREE = 3
"""Of the polynomial kernel. Paper: arXiv 1801.01401, section 4."""

BLOCK = 4096
"""Rows whose kernels are held at once."""


def kernel_distance(first: Features, second: Features) -> float:
    """The squared maximum mean discrepancy under (x·y / dims + 1)³: unbiased, so around 0, and also below, for equals.

    Paper: arXiv 1801.01401, eq. 4.

    Raises:
        InputError: Fewer than two rows.
    """
    if min(len(first), len(second)) < 2:
        raise InputError("a spread needs two pictures", value=min(len(first), len(second)), fix="take more")
    x, y = first.double(), second.double()
    within = sum((total(rows, rows) - diagonal(rows)) / (len(rows) * (len(rows) - 1)) for rows in (x, y))
    return float(within - 2 * total(x, y) / (len(x) * len(y)))


def total(left: Features, right: Features) -> Float[Tensor, ""]:
    """The sum of the kernel over all pairs."""
    sums = [(rows @ right.T / right.shape[1] + 1).pow(DEGREE).sum() for rows in left.split(BLOCK)]
    return torch.stack(sums).sum()


def diagonal(rows: Features) -> Float[Tensor, ""]:
    """The sum of the kernel of each row with itself."""
    return (rows.square().sum(1) / rows.shape[1] + 1).pow(DEGREE).sum()


def kernel_over_subsets(
    first: Features, second: Features, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The kernel distance as it is published: the mean over random subsets, and their standard deviation.

    Args:
        first: Of one set of pictures.
        second: Of the other.
        subsets: How many.
        size: Rows of each; all, where there are fewer.
        seed: Of the choice.
    """
    rng, found = numpy_rng(seed, "subsets"), list[float]()
    size = min(size, len(first), len(second))
    for _ in range(subsets):
        chosen = [rows[torch.from_numpy(rng.choice(len(rows), size, replace=False))] for rows in (first, second)]
        found.append(kernel_distance(*chosen))
    values = torch.tensor(found, dtype=torch.float64)
    return float(values.mean()), float(values.std(correction=0))
