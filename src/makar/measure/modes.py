"""How many of all kinds of things a model makes, where the kinds can be counted."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor


@dataclass(frozen=True)
class Modes:
    """What samples say of a model's kinds.

    Args:
        count: Kinds that occur.
        divergence: From the samples' distribution over kinds to that of the real ones, in nats: KL(made || real).
    """

    count: int
    divergence: float


def modes(made: Int64[Tensor, "rows parts"], real: Int64[Tensor, "some parts"], classes: int) -> Modes:
    """Count kinds, each a class for every part, such as the digit in each colour.

    Args:
        made: Classes of the parts of what was made.
        real: Of real things; their parts are independent, so that no kind is missing for having few rows.
        classes: That a part may be of.

    Paper: arXiv 1611.02163, section 3.3.1.
    """
    kinds, counts = made.unique(dim=0, return_counts=True)
    shares = torch.stack([torch.bincount(part, minlength=classes).double() for part in real.T])
    shares = (shares + 1) / (shares.sum(1, keepdim=True) + classes)  # a class without a row is rare, not impossible
    expected = torch.stack([share[kind] for share, kind in zip(shares, kinds.T, strict=True)]).prod(0)
    found = counts.double() / len(made)
    divergence = float((found * (found / expected).log()).sum())
    assert math.isfinite(divergence), "every kind has a share"
    return Modes(len(kinds), divergence)
