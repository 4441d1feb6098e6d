"""Log-probabilities of whole answers, by any family's `log_prob`, in pieces that fit where a micro-batch fits.

And what rows say of themselves for the log.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from makar.core.errors import ModelError
from makar.core.nouns import Batch, LogProb, Model
from makar.core.random import Rng

AT_ONCE = 16
"""Rows that are read together without gradient, if nobody says how many a micro-batch has."""

LOG = "log_"
"""Columns of the batch with this prefix, one number a row, go into the metrics without it."""

Parts = tuple[Float[Tensor, "rows parts"], Bool[Tensor, "rows parts"]]


def log_prob_of(model: Model[Any]) -> LogProb[Any]:
    """The family's way to say how likely a row is.

    Raises:
        ModelError: It has none.
    """
    if model.family.log_prob is None:
        fix = "align a family that has one, such as language"
        raise ModelError("this family cannot say how likely it finds a row", where=model.family.name, fix=fix)
    return model.family.log_prob


def totals(model: Model[Any], rows: Batch, rng: Rng) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Each row's log-probability in nats, over the parts that count, and how many do."""
    values, mask = log_prob_of(model)(model, rows, rng)
    return (values * mask).sum(1), mask.sum(1).float()


@torch.no_grad()
def in_pieces(
    look: Callable[[Batch, Rng], tuple[Tensor, ...]], rows: Batch, rng: Rng, at_once: int
) -> tuple[Tensor, ...]:
    """What a function says of the rows, a few rows at a time and without gradient.

    Args:
        look: From some rows and their randomness to tensors that begin with the row.
        rows: All of them.
        rng: For all of them.
        at_once: How many it sees together.
    """
    count = len(next(iter(rows.values())))
    found = [
        look({name: t[i : i + at_once] for name, t in rows.items()}, rng.at(rng.rows[i : i + at_once]))
        for i in range(0, count, at_once)
    ]
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def noted(rows: Batch) -> dict[str, Tensor]:
    """What rows say of themselves for the log, summed over them."""
    return {name.removeprefix(LOG): t.sum() for name, t in rows.items() if name.startswith(LOG)}
