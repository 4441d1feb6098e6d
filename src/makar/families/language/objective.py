"""Predict the next token: maximum likelihood, and nothing else."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from makar.core.nouns import Batch, Loss, Model
from makar.core.random import Rng
from makar.nets.cross_entropy import IGNORE, summed_nll
from makar.nets.decoder import Decoder


@dataclass(frozen=True)
class NextToken:
    """The cross-entropy of each token given those before it in its document, in nats.

    The batch holds `tokens` [rows, length + 1]; `segments`, of the same shape, where rows are packed with documents;
    and `loss_mask`, of the same shape, where only some tokens are to be learned. The last token of a document predicts
    the first of the next: that is the token that ends it.
    """

    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[Decoder], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """The batch as it is."""
        return batch

    def __call__(self, model: Model[Decoder], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Nats over all targets, and how many there are."""
        targets = targets_of(micro).flatten()
        hidden = hidden_of(model.net, micro).flatten(0, 1)
        return Loss(summed_nll(hidden, model.net.output_weight, targets), (targets != IGNORE).sum().float())


def hidden_of(net: Decoder, batch: Batch) -> Tensor:
    """Hidden states at every token that has a next one, `[rows, length, width]`."""
    segments = batch["segments"][:, :-1] if "segments" in batch else None
    return net.model(batch["tokens"][:, :-1], segments)


def targets_of(batch: Batch) -> Int[Tensor, "rows length"]:
    """The next tokens; `IGNORE` where the mask says so."""
    targets = batch["tokens"][:, 1:]
    if "loss_mask" not in batch:
        return targets
    return torch.where(batch["loss_mask"][:, 1:].bool(), targets, IGNORE)
