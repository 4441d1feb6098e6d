"""A Gaussian variational autoencoder. Paper: Kingma & Welling 2013, arXiv:1312.6114, eq. 10."""

import math

import torch
from torch import nn

from makar.core.config import Config
from makar.core.nouns import Family, Loss
from makar.data.table import TensorSource
from tests.contract.toys.common import at_once, blocks, circle, cost_of, noise, perceptron, plain_folder

VARIANCE = 0.01  # of the decoder's Gaussian


class VaeConfig(Config):
    width: int = 64
    latent: int = 2


class VaeSettings(Config):
    pass


class Vae(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.latent = config.latent
        self.encoder = perceptron(2, config.width, 2 * config.latent)
        self.decoder = perceptron(config.latent, config.width, config.width, 2)


def bound(model, batch, rng):
    """The evidence lower bound of each row, one draw, in nats."""
    x, net = batch["x"], model.net
    mean, log_variance = net.encoder(x).float().chunk(2, 1)
    z = mean + (log_variance / 2).exp() * rng.normal("latent", net.latent)
    error = (net.decoder(z).float() - x).square().sum(1)
    likelihood = -error / (2 * VARIANCE) - math.log(2 * math.pi * VARIANCE)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
    return likelihood - divergence


class Elbo:
    players = ("",)

    def prepare(self, model, batch, rng):
        return batch

    def __call__(self, model, micro, player, rng):
        values = bound(model, micro, rng)
        return Loss(-values.sum(), torch.tensor(float(len(values))))


class Bound:
    kind = "bound"

    def __call__(self, model, batch, rng):
        values = bound(model, batch, rng)[:, None]
        return values, torch.ones_like(values, dtype=torch.bool)


class Decode:
    def start(self, model, requests):
        return {"z": noise(requests, "latent", model.net.latent)}

    step = staticmethod(at_once(lambda model, state: model.net.decoder(state["z"])))


def tiny():
    return VaeConfig(), TensorSource({"x": circle()}, seed=0)


FAMILY = Family(
    "toy-vae", VaeConfig, VaeSettings, Vae, blocks, {"elbo": Elbo}, Decode(), Bound(),
    plain_folder("toy-vae", VaeConfig, Vae), cost_of(Vae), ("x",), tiny,
)  # fmt: skip
