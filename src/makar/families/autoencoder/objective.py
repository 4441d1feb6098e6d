"""What comes back should be the picture, and its code should be plain: the objective of every bottleneck."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import RecipeError
from makar.core.nouns import Batch, Loss, Model
from makar.core.random import Rng
from makar.families.autoencoder.build import Contest, Net, autoencoder_of
from makar.families.autoencoder.perceptual import feature_layers, perceptual
from makar.measure.reconstruction import perplexity, used
from makar.nets.autoencoder_kl import AutoencoderKL, VQModel
from makar.nets.quantizers import SHARE, FiniteScalarQuantizer, LookupFreeQuantizer, VectorQuantizer

Images = Float[Tensor, "rows channels high wide"]
Rows = Float[Tensor, " rows"]


@dataclass(frozen=True)
class Reconstruct:
    """The mean absolute error of what comes back, and the price of its code. Paper: arXiv 2112.10752, appendix G.

    Args:
        kl: Price of a nat of the Gaussians' divergence from the standard normal, all nats of a picture divided by the
            number of its values: with that, the paper's own weight.
        commitment: Price of the distance between what is encoded and its code. Paper: arXiv 1711.00937, eq. 3.
        entropy: Of signs, price of undecided places and of batches that vary little. Paper: arXiv 2310.05737, eq. 5.
        perceptual: Price of the distance that a feature net sees.
        features: Where its weights are: a safetensors file, as `perceptual.py` says.
        adversary: Price of what the critic does not believe; above 0 there are two players.
        adversary_start: Steps after which the autoencoder begins to pay it.

    Raises:
        RecipeError: A price below 0, or one of a net that is not named.
        ModelError: The feature net cannot be read.
    """

    kl: float = 1e-6
    commitment: float = 0.25
    entropy: float = 0.1
    perceptual: float = 0.0
    features: str = ""
    adversary: float = 0.0
    adversary_start: int = 0

    def __post_init__(self) -> None:
        for name in ("kl", "commitment", "entropy", "perceptual", "adversary"):
            if getattr(self, name) < 0:
                place = f"objective.options.{name}"
                raise RecipeError("a price is not below 0", where=place, value=getattr(self, name), fix="set it to 0")
        if bool(self.perceptual) != bool(self.features):
            fix = "set both perceptual and features, or neither"
            raise RecipeError("a feature net and its price go together", where="objective.options", fix=fix)
        if self.features:
            feature_layers(self.features)

    @property
    def players(self) -> tuple[str, ...]:
        """The whole net, or the autoencoder and its critic."""
        return ("model", "critic") if self.adversary else ("",)

    def prepare(self, model: Model[Net], batch: Batch, rng: Rng) -> Batch:
        """Move a learned codebook, and say how often each code occurs where the loss must know.

        Raises:
            RecipeError: A price for a critic that is not there, or a critic without one; a net whose pictures come back
                with other channels.
        """
        if isinstance(model.net, Contest) != bool(self.adversary):
            fix = "set both model.critic and objective.options.adversary, or neither"
            raise RecipeError("a critic and its price go together", where="objective.options", fix=fix)
        net = autoencoder_of(model.net)
        if net.config.out_channels != net.config.in_channels:
            what, fix = "pictures come back with other channels", "leave it out"
            raise RecipeError(what, where="model.net.out_channels", value=net.config.out_channels, fix=fix)
        if not isinstance(net, VQModel) or isinstance(net.quantize, FiniteScalarQuantizer):
            return batch
        if isinstance(net.quantize, VectorQuantizer) and not model.net.training:
            return batch
        return batch | net.quantize.prepare(net.encode(batch["images"]).float(), rng)

    def __call__(self, model: Model[Net], micro: Batch, player: str, rng: Rng) -> Loss:
        """Summed over rows."""
        net, images = autoencoder_of(model.net), micro["images"]
        if player == "critic":
            assert isinstance(model.net, Contest)
            with torch.no_grad():  # the autoencoder learns nothing in this turn, and keeps nothing for it
                again = self.passed(net, micro, rng)[0]
            return judged(model.net, images, again)
        again, price, logs = self.passed(net, micro, rng)
        error = (again - images).abs().flatten(1).mean(1)
        losses, logs = error + price, {"l1": error.sum(), **logs}
        if self.features:
            seen = perceptual(images, again, self.features)
            losses, logs["perceptual"] = losses + self.perceptual * seen, seen.sum()
        # not in validation: what is judged there is what comes back, whoever else is pleased with it
        if isinstance(model.net, Contest) and model.net.training and rng.step >= self.adversary_start:
            doubt = -means(model.net.critic(again))
            losses, logs["doubt"] = losses + self.adversary * doubt, doubt.sum()
        return Loss(losses.sum(), torch.tensor(float(len(images))), logs)

    def passed(self, net: AutoencoderKL | VQModel, micro: Batch, rng: Rng) -> tuple[Images, Rows, dict[str, Tensor]]:
        """The pictures that come back, the price of their codes, and what is logged of these."""
        images = micro["images"]
        if isinstance(net, AutoencoderKL):
            posterior = net.encode(images)
            noise = rng.normal("posterior", *posterior.mean.shape[1:])
            nats = posterior.divergence()
            price = self.kl * nats / images[0].numel()
            return net.decode(posterior.draw(noise)).float(), price, {"kl": nats.detach().sum()}
        latents = net.encode(images).float()
        found, count = net.quantized(latents), net.config.bottleneck.codes  # pyright: ignore[reportAttributeAccessIssue]
        price = self.commitment * found.commitment
        if isinstance(net.quantize, LookupFreeQuantizer):
            price = price + self.entropy * net.quantize.entropy(latents, micro[SHARE])
        said = {"perplexity": perplexity(found.codes, count), "codes_used": used(found.codes, count)}
        logs = {name: torch.tensor(value * len(images)) for name, value in said.items()}
        return net.decode(found.values).float(), price, logs


def judged(net: Contest, images: Images, again: Images) -> Loss:
    """What the critic got wrong. Paper: arXiv 1705.02894, eq. 4, the hinge.

    In validation that is nothing: a critic that is easily led astray is not what a run is judged by.
    """
    real, made = net.critic(images), net.critic(again)
    losses = 0.5 * (means(F.relu(1 - real)) + means(F.relu(1 + made))) * float(net.training)
    return Loss(losses.sum(), torch.tensor(float(len(images))), {"margin": means(real - made).sum()})


def means(values: Tensor) -> Rows:
    """A mean over all but the rows."""
    return values.float().flatten(1).mean(1)
