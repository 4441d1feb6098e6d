"""What a trained variational autoencoder finds in pictures: ways through its codes that have names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.nouns import Batch, Model, Source
from makar.data.pixels import Pixels
from makar.families.vae.likelihood import shown
from makar.families.vae.net import Vae, config_of

Code = Float[Tensor, " code"]

DIRECTIONS = "directions"
"""The part of a model that holds them, in its folder too: it edits pictures without its data."""

LEARNED, AT_ONCE = 8192, 256
"""Pictures by which directions are found, and pictures at once."""


def finish(model: Model[Vae], source: Source) -> Model[Vae]:
    """The model with a direction for each class that its pictures are of; as it is where they have no classes."""
    if not isinstance(source, Pixels) or len(source.shards.classes) < 2:  # noqa: PLR2004
        return model
    batches = (source.batch(step, AT_ONCE) for step in range(LEARNED // AT_ONCE))
    return replace(model, parts={**model.parts, DIRECTIONS: directions(model, batches, source.shards.classes)})


@torch.no_grad()
def directions(model: Model[Vae], batches: Iterable[Batch], names: Sequence[str]) -> dict[str, Code]:
    """For each class that pictures are of, the way from the mean code of all other pictures to that of its own.

    Paper: arXiv 1609.04468, section 3.2.

    Args:
        model: Trained.
        batches: With `images` and `label`; a label below 0 is of no class.
        names: Of the classes.
    """
    sums = torch.zeros(len(names), model.net.code_size, dtype=torch.float64)
    counts = torch.zeros(len(names), dtype=torch.float64)
    for batch in batches:
        known = batch["label"] >= 0
        images, labels = batch["images"][known].to(model.device), batch["label"][known].cpu()
        codes = model.net.code_of(shown(config_of(model), images)).double().cpu()
        sums.index_add_(0, labels, codes)
        counts.index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))
    others = (sums.sum(0) - sums) / (counts.sum() - counts).clamp(min=1)[:, None]
    ways = (sums / counts.clamp(min=1)[:, None] - others).float()
    return {name: ways[place].clone() for place, name in enumerate(names) if 0 < counts[place] < counts.sum()}


def directions_of(model: Model[Vae]) -> Mapping[str, Code]:
    """The model's directions; none where it was trained without classes."""
    return model.parts.get(DIRECTIONS, {})
