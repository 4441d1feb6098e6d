"""How well pictures and texts find each other: ranks, recall beside chance, and how well the right ones fit."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Likeness = Float[Tensor, "asked shown"]
"""How alike each that asks and each that may be found are."""

Match = Bool[Tensor, "asked shown"]
"""What is right to find: one of a row, or several that mean the same."""

Rows = Float[Tensor, " rows"]

FIT = 2.5
"""Of CLIPScore: likeness of a picture and its text lies far below 1."""


def ranks(likeness: Likeness, match: Match) -> Int[Tensor, " asked"]:
    """How many wrong ones are found before a right one; a tie is lost, so that a constant finds nothing.

    Args:
        likeness: Of all with all.
        match: At least one in a row.
    """
    best = likeness.masked_fill(~match, -math.inf).amax(1, keepdim=True)
    return ((likeness >= best) & ~match).sum(1)


def chance(match: Match, at: int) -> Rows:
    """How likely a random order has a right one among its first.

    Args:
        match: What is right.
        at: How many are looked at, 1 or more.
    """
    shown, right = match.shape[1], match.sum(1).double()
    miss = torch.ones_like(right)
    for place in range(min(at, shown)):
        miss = miss * ((shown - right - place).clamp(min=0) / (shown - place))
    return (1 - miss).float()


def by_luck(hits: int, rows: int, share: float) -> float:
    """How likely so many hits or more are where each is by chance: the upper tail of a binomial distribution.

    Args:
        hits: Counted.
        rows: Tried.
        share: Of hits by chance, in 0 to 1.
    """
    if hits <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    terms = [
        math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1)
        + k * math.log(share) + (rows - k) * math.log1p(-share)
        for k in range(hits, rows + 1)
    ]  # fmt: skip
    most = max(terms)
    return min(1.0, math.exp(most) * math.fsum(math.exp(term - most) for term in terms))


def clip_score(cosines: Rows) -> Rows:
    """How well pictures fit their texts, from the cosines of what a CLIP makes of both; 0 where they do not.

    Paper: arXiv 2104.08718, eq. 1.
    """
    return FIT * cosines.clamp(min=0)
