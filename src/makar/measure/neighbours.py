"""What lies nearest to what: whether made things look real, whether all that is real is made, and what is a copy."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from makar.core.errors import InputError
from makar.measure.frechet import Features

BLOCK = 1024
"""Rows whose distances are held at once."""


@dataclass(frozen=True)
class Manifold:
    """Two sets of features, each taken for the balls around its rows that reach to their k-th neighbours.

    Args:
        precision: Share of the made ones within a ball of a real one.
        recall: Share of the real ones within a ball of a made one.
        density: Balls of real ones that a made one lies in, over k: above 1 where the made ones crowd.
        coverage: Share of the real ones whose ball holds a made one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: Features, made: Features, k: int = 5) -> Manifold:
    """Improved precision and recall, density and coverage.

    Args:
        real: Features of real pictures.
        made: Of made ones; about as many, for all four depend on the counts.
        k: The neighbour that a ball reaches to.

    Paper: arXiv 1904.06991, eq. 1 and 2; arXiv 2002.09797, eq. 3 and 4.

    Raises:
        InputError: No more rows than k.
    """
    if min(len(real), len(made)) <= k:
        raise InputError("fewer pictures than neighbours", value=min(len(real), len(made)), fix=f"take more than {k}")
    centre = real.double().mean(0)  # distances are differences of squares: the smaller, the more exact
    real, made = real.double() - centre, made.double() - centre
    real_reach, made_reach = reach(real, k), reach(made, k)
    inside = torch.zeros(len(made), dtype=torch.int64, device=made.device)
    recalled = covered = 0
    for rows, radius in zip(real.split(BLOCK), real_reach.split(BLOCK), strict=True):
        apart = squared(rows, made)
        within = apart <= radius[:, None]
        inside += within.sum(0)
        covered += int(within.any(1).sum())
        recalled += int((apart <= made_reach).any(1).sum())
    precision, density = float((inside > 0).double().mean()), float(inside.double().mean()) / k
    return Manifold(precision, recalled / len(real), density, covered / len(real))


def reach(rows: Float[Tensor, "rows dims"], k: int) -> Float[Tensor, " rows"]:
    """The squared distance of each row's k-th neighbour among the others."""
    found = [squared(some, rows).kthvalue(k + 1, dim=1).values for some in rows.split(BLOCK)]
    return torch.cat(found)


def squared(left: Float[Tensor, "left dims"], right: Float[Tensor, "right dims"]) -> Float[Tensor, "left right"]:
    """Squared distances of all pairs."""
    product = left @ right.T
    return (left.square().sum(1)[:, None] + right.square().sum(1) - 2 * product).clamp_(min=0)


@dataclass(frozen=True)
class Nearest:
    """The nearest reference of each row.

    Args:
        distance: Root of the mean squared difference.
        row: Its place among the references.
    """

    distance: Float[Tensor, " rows"]
    row: Int[Tensor, " rows"]


def nearest(rows: Float[Tensor, "rows dims"], references: Iterable[Tensor]) -> Nearest:
    """The nearest of many references, which are read once and never held together.

    Args:
        rows: Of one width.
        references: Blocks `[some, dims]`.

    Raises:
        InputError: There is no reference.
    """
    best = torch.full((len(rows),), torch.inf, device=rows.device)
    distance, place = best.clone(), torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    seen = 0
    for block in references:
        least, which = squared(rows, block).min(1)
        nearer = least < best
        best = torch.where(nearer, least, best)
        place = torch.where(nearer, which + seen, place)
        exact = (rows - block[which]).square().mean(1).sqrt()  # the difference of squares knows no small distances
        distance = torch.where(nearer, exact, distance)
        seen += len(block)
    if not seen:
        raise InputError("nothing to look among", fix="collect more pictures")
    return Nearest(distance, place)


def share_nearer(made: Float[Tensor, " made"], real: Float[Tensor, " real"]) -> float:
    """How often a made thing's distance is less than a real one's, over all pairs; equal ones count half.

    0.5 where the made ones keep the distance that real ones keep. Paper: arXiv 2004.05675, section 3.1.
    """
    order = real.sort().values
    below, upto = torch.searchsorted(order, made), torch.searchsorted(order, made, right=True)
    return float(1 - ((below + upto).double() / 2).mean() / len(real))
