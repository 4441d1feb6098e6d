"""Predict the next token, having seen the pictures before it; and how likely each token is found."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from makar.core.nouns import Batch, Loss, Model
from makar.core.random import Rng
from makar.families.language.objective import targets_of
from makar.nets.cross_entropy import IGNORE, summed_nll, token_nll
from makar.nets.llava import Llava


@dataclass(frozen=True)
class NextTokenSeen:
    """The cross-entropy of each token given those before it and the pictures among them, in nats.

    The batch is that of the language family's `NextToken`, and may hold `images` [rows, pictures, channels, high,
    wide]: in each row the first of them are those that its tokens have places for. An image token is never a target.

    Paper: arXiv 2304.08485, eq. 1.

    Args:
        players: The whole net, less what is frozen.
    """

    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[Llava], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """The batch as it is."""
        return batch

    def __call__(self, model: Model[Llava], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Nats over all targets, and how many there are."""
        targets = words_of(model.net, micro).flatten()
        hidden = hidden_of(model.net, micro).flatten(0, 1)
        nats = summed_nll(hidden, model.net.language_model.output_weight, targets)
        return Loss(nats, (targets != IGNORE).sum().float())


@dataclass(frozen=True)
class SeenLogProb:
    """The exact log-probability of every next token, in nats; the batch is as for `NextTokenSeen`."""

    kind: Literal["exact"] = "exact"

    def __call__(
        self,
        model: Model[Llava],
        batch: Batch,
        rng: Rng,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "rows length"], Bool[Tensor, "rows length"]]:
        """Values, 0 where the mask is false, and the mask. Gradients flow through the values."""
        targets = words_of(model.net, batch)
        hidden = hidden_of(model.net, batch).flatten(0, 1)
        nll = token_nll(hidden, model.net.language_model.output_weight, targets.flatten())
        return -nll.view(targets.shape), targets != IGNORE


def words_of(net: Llava, batch: Batch) -> Tensor:
    """The next tokens; `IGNORE` where they are not to be learned or are places of a picture."""
    targets = targets_of(batch)
    return torch.where(targets == net.config.image_token_index, IGNORE, targets)


def hidden_of(net: Llava, batch: Batch) -> Tensor:
    """Hidden states at every token that has a next one, `[rows, length, width]`."""
    tokens = batch["tokens"][:, :-1]
    segments = batch["segments"][:, :-1] if "segments" in batch else None
    return net.hidden(tokens, images_of(net, tokens, batch), segments)


def images_of(net: Llava, tokens: Tensor, batch: Batch) -> Tensor | None:
    """The pictures that the tokens have places for, row by row."""
    if "images" not in batch:
        return None
    images = batch["images"]
    counts = (tokens == net.config.image_token_index).sum(1) // net.config.places
    return images[torch.arange(images.shape[1], device=images.device) < counts[:, None]]
