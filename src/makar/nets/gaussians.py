"""Diagonal normal distributions: how likely a point is, and how far one is from another, for each number of a code."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

NARROWEST, WIDEST = -14.0, 6.0
"""Bounds on the logarithm of a variance that a net says: beyond, one bad batch would end in numbers that are none."""


class Normal(NamedTuple):
    """A diagonal normal distribution for each row.

    Args:
        mean: Of each number.
        log_variance: Its logarithm.
    """

    mean: Float[Tensor, "rows *code"]
    log_variance: Float[Tensor, "rows *code"]

    def at(self, noise: Float[Tensor, "rows *code"]) -> Float[Tensor, "rows *code"]:
        """The point that standard normal noise means."""
        return self.mean + (self.log_variance / 2).exp() * noise

    def noise_at(self, z: Float[Tensor, "rows *code"]) -> Float[Tensor, "rows *code"]:
        """The noise that a point means."""
        return (z - self.mean) * (-self.log_variance / 2).exp()

    def log_prob(self, z: Float[Tensor, "rows *code"]) -> Float[Tensor, "rows *code"]:
        """How likely each number is, in nats."""
        return -(self.noise_at(z).square() + self.log_variance + math.log(2 * math.pi)) / 2

    def divergence(self, other: "Normal") -> Float[Tensor, "rows *code"]:
        """The Kullback-Leibler divergence from another one to this, of each number, in nats; never below 0."""
        ratio = self.log_variance - other.log_variance
        far = (self.mean - other.mean).square() * (-other.log_variance).exp()
        return (far + ratio.exp() - 1 - ratio) / 2


def split(said: Float[Tensor, "rows both ..."]) -> Normal:
    """What a net says of means and variances, as float32."""
    mean, log_variance = said.float().chunk(2, 1)
    return Normal(mean, log_variance.clamp(NARROWEST, WIDEST))


def standard(like: Tensor) -> Normal:
    """Mean 0 and variance 1."""
    return Normal(torch.zeros_like(like), torch.zeros_like(like))
