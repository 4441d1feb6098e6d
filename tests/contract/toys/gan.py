"""Two players. Paper: Huang et al. 2024 (R3GAN), arXiv:2501.05441: the relativistic loss of eq. 2 with R1 and R2."""

import torch
import torch.nn.functional as F
from torch import nn

from makar.core.config import Config
from makar.core.nouns import Family, Loss
from makar.data.table import TensorSource
from tests.contract.toys.common import at_once, blocks, circle, cost_of, noise, perceptron, plain_folder

GAMMA = 0.1


class GanConfig(Config):
    width: int = 64
    latent: int = 4


class GanSettings(Config):
    pass


class Gan(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.latent = config.latent
        self.generator = perceptron(config.latent, config.width, config.width, 2)
        self.critic = perceptron(2, config.width, config.width, 1)


def penalty(x, score):
    """Squared norm of the critic's gradient at each row."""
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradient.square().sum(1)


class Relativistic:
    """The critic widens the margin of a real over a fake point, the generator narrows it."""

    players = ("critic", "generator")

    def prepare(self, model, batch, rng):
        return batch

    def __call__(self, model, micro, player, rng):
        real = micro["x"]
        fake = model.net.generator(rng.normal("latent", model.net.latent))
        if player == "generator":
            margin = (model.net.critic(real) - model.net.critic(fake)).squeeze(1)
            losses = F.softplus(margin)
        else:
            with torch.enable_grad():  # the penalties need it in validation too
                real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
                scores = model.net.critic(real), model.net.critic(fake)
                margin = (scores[0] - scores[1]).squeeze(1)
                losses = F.softplus(-margin) + GAMMA / 2 * (penalty(real, scores[0]) + penalty(fake, scores[1]))
        return Loss(losses.sum(), torch.tensor(float(len(real))), {"margin": margin.sum()})


class Draw:
    def start(self, model, requests):
        return {"z": noise(requests, "latent", model.net.latent)}

    step = staticmethod(at_once(lambda model, state: model.net.generator(state["z"])))


def tiny():
    return GanConfig(), TensorSource({"x": circle()}, seed=0)


FAMILY = Family(
    "toy-gan", GanConfig, GanSettings, Gan, blocks, {"relativistic": Relativistic}, Draw(), None,
    plain_folder("toy-gan", GanConfig, Gan), cost_of(Gan), ("x",), tiny,
)  # fmt: skip
