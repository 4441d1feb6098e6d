"""What a variational autoencoder minimises: bounds on how unlikely it finds pictures."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from makar.core.errors import RecipeError
from makar.core.nouns import Batch, Loss, Model
from makar.core.random import Rng, key_of
from makar.families.vae.bound import inferred
from makar.families.vae.likelihood import Nats, shown
from makar.families.vae.net import Vae, config_of


def prepared(model: Model[Vae], batch: Batch, rng: Rng) -> Batch:
    """The batch as the net is shown it.

    Black and white is drawn here for all rows at once, from torch's generator: it is several times as fast as named
    draws are, which matters beside a net of a few layers.
    """
    config, images = config_of(model), batch["images"]
    if config.likelihood != "bernoulli" or config.binarise != "dynamic":
        return {**batch, "images": shown(config, images)}
    generator = torch.Generator(images.device).manual_seed(key_of(rng.seed, rng.step, "binarise") >> 1)
    drawn = 2 * torch.rand(images.shape, generator=generator, device=images.device) - 1
    return {**batch, "images": torch.where(drawn < images, 1.0, -1.0)}


@dataclass(frozen=True)
class Elbo:
    """Minus the evidence lower bound: what the picture costs given its code, and what the code costs.

    Paper: arXiv 1312.6114, eq. 3. The batch holds `images` [rows, channels, high, wide] in -1 to 1.

    Args:
        players: The whole net.
        beta: Weight of the code's cost. Paper: Higgins et al. 2017, beta-VAE, eq. 4.
        free_bits: Nats a row that the codes of a stage (of a flat net: each number of a code) cost at least, so that
            they are used. Paper: arXiv 1606.04934, eq. 15, there of a mini-batch's mean; of each row, so that a batch
            in parts gives the same.
        annealing: Steps over which beta grows from 0. Paper: arXiv 1511.06349, section 3.1.

    Raises:
        RecipeError: A number below 0.
    """

    players: tuple[str, ...] = ("",)
    beta: float = 1.0
    free_bits: float = 0.0
    annealing: int = 0

    def __post_init__(self) -> None:
        for name in ("beta", "free_bits", "annealing"):
            if getattr(self, name) < 0:
                what, place = "it must not be below 0", f"objective.options.{name}"
                raise RecipeError(what, where=place, value=getattr(self, name), fix="leave it out for the usual")

    def prepare(self, model: Model[Vae], batch: Batch, rng: Rng) -> Batch:
        """The batch as the net is shown it."""
        return prepared(model, batch, rng)

    def __call__(self, model: Model[Vae], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Summed over rows; validation takes the whole bound, without free bits and annealing."""
        found, likelihood = inferred(model.net, micro["images"], rng, 1)
        divergence, weight = found.divergence, self.beta
        cost = divergence.sum(1)
        if not model.net.training:
            return loss_of(self.beta * cost - likelihood, cost, likelihood)
        if self.annealing:
            weight *= min(1.0, (rng.step + 1) / self.annealing)
        charged = divergence.clamp(min=self.free_bits).sum(1) if self.free_bits else cost
        return loss_of(weight * charged - likelihood, cost, likelihood)


@dataclass(frozen=True)
class Iwae:
    """Minus the importance-weighted bound of several codes a row. Paper: arXiv 1509.00519, eq. 8.

    Args:
        players: The whole net.
        samples: Codes a row.

    Raises:
        RecipeError: There are none.
    """

    players: tuple[str, ...] = ("",)
    samples: int = 5

    def __post_init__(self) -> None:
        if self.samples < 1:
            place, fix = "objective.options.samples", "set it to 1 or more"
            raise RecipeError("a bound needs samples", where=place, value=self.samples, fix=fix)

    def prepare(self, model: Model[Vae], batch: Batch, rng: Rng) -> Batch:
        """The batch as the net is shown it."""
        return prepared(model, batch, rng)

    def __call__(self, model: Model[Vae], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Summed over rows."""
        rows = len(micro["images"])
        found, likelihood = inferred(model.net, micro["images"], rng, self.samples)
        weights = (likelihood - found.log_ratio).unflatten(0, (rows, self.samples))
        bound = weights.logsumexp(1) - math.log(self.samples)
        cost, likely = (part.unflatten(0, (rows, self.samples)).mean(1) for part in (found.log_ratio, likelihood))
        return loss_of(-bound, cost, likely)


def loss_of(losses: Nats, cost: Nats, likelihood: Nats) -> Loss:
    """A loss, with its two sides for the log."""
    logs: dict[str, Tensor] = {"code": cost.sum(), "picture": -likelihood.sum()}
    return Loss(losses.sum(), torch.tensor(float(len(losses))), logs)
