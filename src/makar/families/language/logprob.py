"""How likely a language model finds each token of a row."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from makar.core.nouns import Batch, Model
from makar.core.random import Rng
from makar.families.language.objective import hidden_of, targets_of
from makar.nets.cross_entropy import IGNORE, token_nll
from makar.nets.decoder import Decoder


@dataclass(frozen=True)
class TokenLogProb:
    """The exact log-probability of every next token, in nats; the batch is as for `NextToken`."""

    kind: Literal["exact"] = "exact"

    def __call__(
        self,
        model: Model[Decoder],
        batch: Batch,
        rng: Rng,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "rows length"], Bool[Tensor, "rows length"]]:
        """Values, 0 where the mask is false, and the mask. Gradients flow through the values."""
        targets = targets_of(batch)
        hidden = hidden_of(model.net, batch).flatten(0, 1)
        nll = token_nll(hidden, model.net.output_weight, targets.flatten())
        return -nll.view(targets.shape), targets != IGNORE
