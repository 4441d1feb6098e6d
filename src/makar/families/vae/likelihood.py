"""How likely a picture is by what a net says of its values: log-probabilities in nats, summed over a row.

Each is a function of what the net says [rows, channels * OUTPUTS, high, wide] and of the picture's values in -1 to 1.
"""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.core.random import Rng
from makar.families.vae.config import LikelihoodName, VaeConfig

Said = Float[Tensor, "rows said high wide"]
Images = Float[Tensor, "rows channels high wide"]
Nats = Float[Tensor, " rows"]

OUTPUTS: Mapping[LikelihoodName, int] = {"bernoulli": 1, "gaussian": 1, "logistic": 2}
"""Channels that a net says for each of a picture's."""

HALF_LEVEL = 1 / 255
"""Half the way from one of 256 levels to the next, in -1 to 1."""

NARROWEST, WIDEST = -7.0, 7.0
"""Of the logarithm of a logistic scale: a tenth of a level, and all levels alike."""


def bernoulli(said: Said, images: Images, log_scale: Tensor | None) -> Nats:  # noqa: ARG001
    """Of pictures of -1 and 1; said are the logits of 1. A value between counts as a share of both."""
    shares = (images + 1) / 2
    return -F.binary_cross_entropy_with_logits(said.float(), shares, reduction="none").flatten(1).sum(1)


def gaussian(said: Said, images: Images, log_scale: Tensor | None) -> Nats:
    """A density over real values; said are the means, the logarithm of the spread is learned for each channel.

    Paper: arXiv 2006.13202, section 3.
    """
    assert log_scale is not None
    scale = log_scale[:, None, None]
    error = (images - said.float()) * (-scale).exp()
    return -(error.square() / 2 + scale + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def logistic(said: Said, images: Images, log_scale: Tensor | None) -> Nats:  # noqa: ARG001
    """Of 256 levels: the mass of a logistic distribution between the borders of each. Paper: arXiv 1606.05328, eq. 2.

    The outermost levels take all the mass beyond. Said are means and logarithms of scales.
    """
    mean, log_scale = said.float().chunk(2, 1)
    log_scale = log_scale.clamp(NARROWEST, WIDEST)
    narrow, away = (-log_scale).exp(), images - mean
    above, below = (away + HALF_LEVEL) * narrow, (away - HALF_LEVEL) * narrow
    above = torch.where(images > 1 - HALF_LEVEL, math.inf, above)
    below = torch.where(images < HALF_LEVEL - 1, -math.inf, below)
    # sigmoid(a) - sigmoid(b) = (1 - exp(b - a)) sigmoid(a) sigmoid(-b): never a difference of nearly equal numbers
    return (torch.log(-torch.expm1(below - above)) + F.logsigmoid(above) + F.logsigmoid(-below)).flatten(1).sum(1)


LIKELIHOODS: Mapping[LikelihoodName, Callable[[Said, Images, Tensor | None], Nats]] = {
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "logistic": logistic,
}


def middle(config: VaeConfig, said: Said) -> Images:
    """The picture that a net means: the mean of each value."""
    if config.likelihood == "bernoulli":
        return 2 * said.float().sigmoid() - 1
    return said.float()[:, : config.net.in_channels].clamp(-1, 1)


def shown(config: VaeConfig, images: Images, rng: Rng | None = None) -> Images:
    """Pictures as the net is shown them: of black and white where it knows no more.

    Args:
        config: Of the family.
        images: In -1 to 1.
        rng: Of the rows, to draw "dynamic" ones from; without it, whichever is nearer.
    """
    if config.likelihood != "bernoulli":
        return images
    if config.binarise == "threshold" or rng is None:
        return torch.where(images > 0, 1.0, -1.0)
    return torch.where(2 * rng.uniform("binarise", *images.shape[1:]) - 1 < images, 1.0, -1.0)


def bits_per_dim(config: VaeConfig, nats: Nats) -> Nats:
    """Log-probabilities of rows in nats as bits for each value of a picture, the smaller the better.

    A density of real values counts as the mass of the level that a value stands for, 2 / 255 wide.
    """
    values = config.net.in_channels * config.net.sample_size**2
    width = math.log(2 * HALF_LEVEL) if config.likelihood == "gaussian" else 0.0
    return -(nats / values + width) / math.log(2)
