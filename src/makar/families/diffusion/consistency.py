"""A few steps in place of many: the denoiser learns to say the same along the whole way to a picture."""

from dataclasses import dataclass

import torch

from makar.core.errors import RecipeError
from makar.core.nouns import Batch, Loss, Model
from makar.core.random import Rng
from makar.families.diffusion.denoise import Net, Rows, config_of, expected, over
from makar.families.diffusion.objective import Denoise, told_of
from makar.families.diffusion.path import limits

BEND, SLOPE = 8.0, 1.0
"""Of the gap at weak noise: k and b of arXiv 2406.14548, eq. 12."""

HALVINGS = 10
"""Of the gap at most: much later both noises are one number, and there is nothing to divide by."""

SOFT = 0.00054
"""Below so much error a value, times the root of how many there are, the loss is a square. Paper: arXiv 2310.14189."""


@dataclass(frozen=True)
class Consistency:
    """Easy consistency tuning: what is said at one noise is what is said at a weaker one. Paper: arXiv 2406.14548.

    It begins from a trained denoiser (`init = "@teacher"`). At first the weaker noise is none, and the target is the
    picture; every so many steps the gap between the two becomes half as wide, and the targets the model's own words.
    The sampler "lcm" then makes pictures in one to four steps.

    Args:
        players: The whole net.
        doubling: Steps after which the gap is halved, and halved again, ten times at most.
        p_mean: Mean of the logarithm of the noise.
        p_std: Its standard deviation.

    Raises:
        RecipeError: A number that is not above 0.
    """

    players: tuple[str, ...] = ("",)
    doubling: int = 1000
    p_mean: float = -1.1
    p_std: float = 2.0

    def __post_init__(self) -> None:
        for name in ("doubling", "p_std"):
            if getattr(self, name) <= 0:
                place = f"objective.options.{name}"
                raise RecipeError("it is above 0", where=place, value=getattr(self, name), fix="raise it")

    def prepare(self, model: Model[Net], batch: Batch, rng: Rng) -> Batch:
        """The batch, with what the net is told of its captions.

        Raises:
            InputError: It lacks captions or labels, and the net needs them.
        """
        return Denoise(label_drop=0.0).prepare(model, batch, rng)

    def __call__(self, model: Model[Net], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Summed over rows; in validation the gap is that of the first steps, for a gap of nothing says nothing."""
        images, told = micro["images"], told_of(model, micro, 0.0, rng)
        least, most = limits(config_of(model).path)
        sigma = (self.p_mean + self.p_std * rng.normal("sigma")).exp().clamp(least, most)
        weaker = sigma * self.share(sigma, rng.step if model.net.training else 0)
        weaker = torch.where(weaker < least, 0.0, weaker)
        noise = rng.normal("noise", *images.shape[1:])
        with torch.no_grad():
            target = expected(model, images + over(weaker) * noise, weaker.clamp(min=least), told)
            target = torch.where(over(weaker == 0), images, target)
        said = expected(model, images + over(sigma) * noise, sigma, told)
        soft = SOFT * images[0].numel() ** 0.5
        gap = (said - target).square().flatten(1).sum(1)
        losses = ((gap + soft**2).sqrt() - soft) / (sigma - weaker)
        return Loss(losses.sum(), torch.tensor(float(len(images))), {"gap": gap.detach().sqrt().sum()})

    def share(self, sigma: Rows, step: int) -> Rows:
        """How strong the weaker noise is, over the stronger. Paper: eq. 12, with q = 2."""
        left = 0.5 ** (1 + min(step // self.doubling, HALVINGS))
        return (1 - left * (1 + BEND * (-SLOPE * sigma).sigmoid())).clamp(min=0)
