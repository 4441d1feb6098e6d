"""Predict the next token: maximum likelihood, and nothing else."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from makar.core.errors import RecipeError
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

    Args:
        players: The whole net.
        noise: Strength of the noise on the embeddings in training, which keeps fine-tuning on few examples from
            learning them by heart: 5 to 15 in the paper, 0 for none. Paper: NEFTune, arXiv 2310.05914, algorithm 1.

    Raises:
        RecipeError: The noise is negative.
    """

    players: tuple[str, ...] = ("",)
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.noise < 0:
            raise RecipeError(
                "noise cannot be negative", where="objective.options.noise", value=self.noise, fix="5 is usual"
            )

    def prepare(self, model: Model[Decoder], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """The batch as it is."""
        return batch

    def __call__(self, model: Model[Decoder], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Nats over all targets, and how many there are."""
        targets = targets_of(micro).flatten()
        with shaken(model.net, micro, self.noise if model.net.training else 0.0, rng):
            hidden = hidden_of(model.net, micro).flatten(0, 1)
        return Loss(summed_nll(hidden, model.net.output_weight, targets), (targets != IGNORE).sum().float())


def hidden_of(net: Decoder, batch: Batch) -> Tensor:
    """Hidden states at every token that has a next one, `[rows, length, width]`."""
    segments = batch["segments"][:, :-1] if "segments" in batch else None
    return net.model(batch["tokens"][:, :-1], segments)


@contextmanager
def shaken(net: Decoder, batch: Batch, noise: float, rng: Rng) -> Generator[None]:
    """Add uniform noise to what the embedding gives, for a while; each row's is its own, however the batch is cut."""
    if not noise:
        yield
        return
    size = noise * (document_lengths(batch)[..., None] * net.config.hidden_size).rsqrt()
    uniform = rng.uniform("noise", size.shape[1], net.config.hidden_size)

    def shake(embedding: Any, tokens: Any, x: Tensor) -> Tensor:  # noqa: ARG001
        return x + (2 * uniform - 1) * size

    hook = net.model.embed_tokens.register_forward_hook(shake)
    try:
        yield
    finally:
        hook.remove()


def document_lengths(batch: Batch) -> Float[Tensor, "rows length"]:
    """How many tokens the document of each token has in its row, of those that have a next one."""
    tokens = batch["tokens"][:, :-1]
    if "segments" not in batch:
        return torch.full(tokens.shape, float(tokens.shape[1]), device=tokens.device)
    segments = batch["segments"][:, :-1]
    return (segments[:, :, None] == segments[:, None, :]).sum(-1).float()


def targets_of(batch: Batch) -> Int[Tensor, "rows length"]:
    """The next tokens; `IGNORE` where the mask says so."""
    targets = batch["tokens"][:, 1:]
    if "loss_mask" not in batch:
        return targets
    return torch.where(batch["loss_mask"][:, 1:].bool(), targets, IGNORE)
