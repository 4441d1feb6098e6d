"""The loss on rows that are not trained on, for any family."""

from typing import Any

import torch

from makar.core.device import Precision
from makar.core.nouns import Model, Objective, Source
from makar.core.random import Rng
from makar.train.precision import autocast


@torch.no_grad()
def validation_loss(
    model: Model[Any],
    objective: Objective[Any],
    source: Source,
    *,
    batches: int,
    batch_size: int,
    seed: int = 0,
    precision: Precision = "fp32",
) -> dict[str, float]:
    """Mean loss over held-out rows. Noise is a function of the seed and the row, so two looks compare fairly.

    Args:
        model: Put into evaluation mode for the while.
        objective: The loss.
        source: Held-out rows.
        batches: How many.
        batch_size: Rows in each.
        seed: Of the noise.
        precision: Of the forward passes.

    Returns:
        "loss" of the first player (its path before a slash where it has one), and of the others, with all logs.
    """
    training = model.net.training
    model.net.eval()
    totals: dict[str, torch.Tensor] = {}
    counts: dict[str, torch.Tensor] = {}
    for step in range(batches):
        batch = {name: t.to(model.device) for name, t in source.batch(step, batch_size).items()}
        rows = torch.arange(batch_size, device=model.device) + step * batch_size
        with autocast(model.device, precision):
            batch = objective.prepare(model, batch, Rng(seed, step, rows))
            for player in objective.players:
                loss = objective(model, batch, player, Rng(seed, step, rows, player))
                for name, value in {"loss": loss.sum, **loss.logs}.items():
                    label = f"{player}/{name}" if player else name
                    totals[label] = totals.get(label, 0) + value.detach().double()
                    counts[label] = counts.get(label, 0) + loss.count.double()
    model.net.train(training)
    return {label: float(totals[label] / counts[label]) for label in totals}
