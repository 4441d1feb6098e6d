"""How well a picture and a text fit, as a number that orders."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from makar.core.nouns import Batch, Model
from makar.core.random import Rng
from makar.families.clip.build import Net, embedded


@dataclass(frozen=True)
class Likeness:
    """Implements `core.nouns.LogProb`: the cosine of the angle between both."""

    kind: Literal["exact", "bound", "score"] = "score"

    def __call__(
        self,
        model: Model[Net],
        batch: Batch,
        rng: Rng,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "rows 1"], Bool[Tensor, "rows 1"]]:
        """One number a row, in -1 to 1."""
        seen, read = embedded(model, batch["images"], batch["tokens"])
        values = (seen * read).sum(1, keepdim=True)
        return values, torch.ones_like(values, dtype=torch.bool)
