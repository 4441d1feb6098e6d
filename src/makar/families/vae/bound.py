"""Lower bounds on how likely a variational autoencoder finds pictures, in nats.

The mean of K importance weights is an unbiased guess of the probability, so the mean of its logarithm is a lower bound,
which rises with K: at 1 it is the ELBO. Paper: arXiv 1509.00519, eq. 8.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from makar.core.nouns import Batch, Model
from makar.core.random import Rng
from makar.families.vae.likelihood import Images, Nats, shown
from makar.families.vae.net import Vae, config_of, repeated
from makar.nets.vae_flat import Inference

SAMPLES_AT_ONCE = 50
"""Codes drawn together for a row."""

VALUES_AT_ONCE = 1 << 24
"""Values of pictures that are in memory together: rows are taken in turn so that there are no more."""


def inferred(net: Vae, images: Images, rng: Rng, samples: int) -> tuple[Inference, Float[Tensor, " draws"]]:
    """Draw so many codes for each row.

    Args:
        net: Of the family.
        images: As the net is shown them.
        rng: Of the rows.
        samples: Codes a row.

    Returns:
        What the net makes of them, and how likely the pictures are given each; rows of `rows * samples`.
    """
    noise = rng.normal("code", samples, net.code_size).flatten(0, 1)
    found = net.infer(repeated(net.see(images), samples), noise)
    (shown_again,) = repeated((images,), samples)
    return found, net.log_likelihood(found.said, shown_again)


def log_bound(model: Model[Vae], images: Images, rng: Rng, samples: int) -> Nats:
    """The importance bound of each row, in nats, in memory that does not grow with the samples.

    Args:
        model: Of the family.
        images: As the net is shown them: see `likelihood.shown`.
        rng: Of the rows; a row's bound is the same in any batch.
        samples: K, above 0.

    Raises:
        ValueError: There are no samples.
    """
    if samples < 1:
        raise ValueError(f"a bound needs samples (got {samples})")
    most = min(samples, SAMPLES_AT_ONCE)
    at_once = max(1, VALUES_AT_ONCE // (most * images[0].numel()))
    parts = [
        chunked(model.net, images[rows], rng.at(rng.rows[rows]), samples)
        for rows in torch.arange(len(images), device=images.device).split(at_once)
    ]
    return torch.cat(parts)


def chunked(net: Vae, images: Images, rng: Rng, samples: int) -> Nats:
    """The bound of rows that fit into memory, some samples after others."""
    total = images.new_full((len(images),), -math.inf)
    for chunk, begin in enumerate(range(0, samples, SAMPLES_AT_ONCE)):
        count = min(SAMPLES_AT_ONCE, samples - begin)
        found, likelihood = inferred(net, images, rng.within(f"chunk {chunk}"), count)
        weights = (likelihood - found.log_ratio).unflatten(0, (len(images), count))
        total = torch.logaddexp(total, weights.logsumexp(1))
    return total - math.log(samples)


@dataclass(frozen=True)
class ImportanceBound:
    """Implements `core.nouns.LogProb`: one number a row, the importance bound in nats.

    Args:
        kind: A lower bound.
        samples: K.
    """

    kind: Literal["bound"] = "bound"
    samples: int = 50

    def __call__(
        self, model: Model[Vae], batch: Batch, rng: Rng
    ) -> tuple[Float[Tensor, "rows 1"], Bool[Tensor, "rows 1"]]:
        """Nats of each row, and a mask that is true everywhere. Gradients flow through the values."""
        images = shown(config_of(model), batch["images"], rng)
        values = log_bound(model, images, rng, self.samples)[:, None]
        return values, torch.ones_like(values, dtype=torch.bool)
