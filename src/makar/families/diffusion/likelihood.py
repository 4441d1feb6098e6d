"""How likely a diffusion model finds pictures: along its probability-flow ODE, by the change of variables.

In x = y + sigma * noise the flow is dx/d(log sigma) = x - D(x; sigma). From a picture at the least noise it runs to
the greatest, where all are noise, and the divergence on the way says how much room it made.

Paper: arXiv 2011.13456, eq. 39, in the variables of arXiv 2206.00364, eq. 1; the trace by Hutchinson's estimate,
arXiv 1810.01367, eq. 7.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.nouns import Model
from makar.core.random import Rng
from makar.families.diffusion.denoise import Denoise, Images, Net, Told, config_of, expected
from makar.families.diffusion.path import limits

Nats = Float[Tensor, " rows"]

STEPS = 20
"""Of the integrator; each asks the net, and its gradient, four times."""


def log_density(denoise: Denoise, images: Images, between: tuple[float, float], probe: Images, steps: int) -> Nats:
    """The log-density of pictures with the least noise, in nats, by the classical fourth-order Runge-Kutta method.

    What moves is z = x / sqrt(1 + sigma^2), and time is the logarithm of sigma: so the slope is small and changes
    slowly all the way.

    Args:
        denoise: From noisy pictures and their levels to the expected ones; differentiable.
        images: What is asked for.
        between: The noise to begin with, above 0, and that at which what a picture was no longer matters.
        probe: Entries of mean 0 and variance 1, for the trace; each row's own.
        steps: Of one length.
    """
    least, most = between
    begin, step = math.log(least), (math.log(most) - math.log(least)) / steps
    z, room = images / math.hypot(1, least), images.new_zeros(len(images))
    for number in range(steps):
        now = begin + number * step
        slope, spread = flow(denoise, z, now, probe)
        slopes, spreads = slope, spread
        for share, weight in ((0.5, 2), (0.5, 2), (1.0, 1)):
            slope, spread = flow(denoise, z + share * step * slope, now + share * step, probe)
            slopes, spreads = slopes + weight * slope, spreads + weight * spread
        z, room = z + step / 6 * slopes, room + step / 6 * spreads
    noise = torch.distributions.Normal(0.0, most / math.hypot(1, most)).log_prob(z).flatten(1).sum(1)
    return noise + room - images[0].numel() * math.log(math.hypot(1, least))


def flow(denoise: Denoise, z: Images, time: float, probe: Images) -> tuple[Images, Nats]:
    """Where the flow goes, and an unbiased guess of its divergence."""
    sigma = math.exp(time)
    scale, drift = math.hypot(1, sigma), sigma**2 / (1 + sigma**2)
    with torch.enable_grad():
        x = (z * scale).detach().requires_grad_()
        said = denoise(x, x.new_full((len(x),), sigma))
        (turned,) = torch.autograd.grad(said, x, probe)
    slope = (x.detach() - said.detach()) / scale - drift * z
    return slope, ((probe - turned) * probe - drift).flatten(1).sum(1)


def likelihood(model: Model[Net], images: Images, told: Told, rng: Rng, steps: int = STEPS) -> Nats:
    """The log-density of pictures, in nats.

    Args:
        model: Of this family, on pixels.
        images: Real values in -1 to 1: bytes with uniform noise of one level added.
        told: As `expected` takes it.
        rng: Of the rows; a row's guess of the trace is the same in any batch.
        steps: Of the integrator.
    """
    probe = torch.where(rng.uniform("probe", *images.shape[1:]) < 0.5, -1.0, 1.0)

    def denoise(x: Images, sigma: Tensor) -> Images:
        return expected(model, x, sigma, told)

    return log_density(denoise, images, limits(config_of(model).path), probe, steps)


def with_noise(pixels: Images, rng: Rng) -> Images:
    """Pictures of 256 levels in -1 to 1 as real numbers: each value anywhere within its level."""
    return pixels + (rng.uniform("level", *pixels.shape[1:]) - 0.5) / 127.5


def bits_per_dim(nats: Nats, values: int) -> Nats:
    """Densities of real values as bits for each value of 256 levels, which are 2/255 wide; an upper bound on average.

    Paper: arXiv 1511.01844, section 3.1.
    """
    return -(nats / values - math.log(127.5)) / math.log(2)
