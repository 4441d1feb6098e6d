"""A denoiser with EDM's preconditioning. Paper: Karras et al. 2022, arXiv:2206.00364, table 1 and algorithm 1."""

import torch
from torch import nn

from makar.core.config import Config
from makar.core.nouns import Chunk, Family, Loss
from makar.data.table import TensorSource
from tests.contract.toys.common import blocks, circle, cost_of, noise, perceptron, plain_folder

SIGMA_DATA = 0.5**0.5  # of a coordinate on the unit circle
P_MEAN, P_STD = -1.2, 1.2
SIGMA_MIN, SIGMA_MAX, RHO = 0.02, 5.0, 7.0


class DiffusionConfig(Config):
    width: int = 64


class DiffusionSettings(Config):
    steps: int = 12


class Denoiser(nn.Module):
    """D(x; sigma), eq. 7."""

    def __init__(self, config):
        super().__init__()
        self.inner = perceptron(3, *3 * (config.width,), 2)

    def forward(self, x, sigma):
        total = sigma**2 + SIGMA_DATA**2
        skip, out, into = SIGMA_DATA**2 / total, sigma * SIGMA_DATA / total.sqrt(), 1 / total.sqrt()
        return skip * x + out * self.inner(torch.cat((into * x, sigma.log() / 4), 1))


def weighted_error(model, batch, rng):
    """lambda(sigma) |D(y + n; sigma) - y|^2 of each row, eq. 2 and section 5."""
    clean = batch["x"]
    sigma = (P_MEAN + P_STD * rng.normal("sigma", 1)).exp()
    weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
    denoised = model.net(clean + sigma * rng.normal("noise", 2), sigma)
    return (weight * (denoised.float() - clean) ** 2).mean(1)


class Denoise:
    players = ("",)

    def prepare(self, model, batch, rng):
        return batch

    def __call__(self, model, micro, player, rng):
        errors = weighted_error(model, micro, rng)
        return Loss(errors.sum(), torch.tensor(float(len(errors))))


class Score:
    """Minus the error at four fixed noise levels: it orders, and is no probability."""

    kind = "score"
    levels = (0.1, 0.3, 1.0, 3.0)

    def __call__(self, model, batch, rng):
        clean, found = batch["x"], []
        for level in self.levels:
            sigma = torch.full((len(clean), 1), level)
            noisy = clean + sigma * rng.normal(f"noise {level}", 2)
            found.append(-((model.net(noisy, sigma) - clean) ** 2).sum(1))
        values = torch.stack(found, 1)
        return values, torch.ones_like(values, dtype=torch.bool)


class Heun:
    """Algorithm 1 without churn; every row may be at another step."""

    def start(self, model, requests):
        steps = torch.tensor([(r.settings or DiffusionSettings()).steps for r in requests])
        return {"x": SIGMA_MAX * noise(requests, "x", 2), "at": torch.zeros_like(steps), "steps": steps}

    def step(self, model, state):
        x, at, steps = state["x"], state["at"], state["steps"]
        now, after = self.sigma(at, steps), self.sigma(at + 1, steps)
        slope = (x - model.net(x, now)) / now
        ahead = x + (after - now) * slope
        second = (ahead - model.net(ahead, after.clamp(min=SIGMA_MIN))) / after.clamp(min=SIGMA_MIN)
        ahead = torch.where(after > 0, x + (after - now) * (slope + second) / 2, ahead)
        done = (at + 1 == steps).tolist()
        chunks = [Chunk(row, ahead[row], done[row], "stop" if done[row] else None) for row in range(len(x))]
        return {"x": ahead, "at": at + 1, "steps": steps}, chunks

    def sigma(self, at, steps):
        """Eq. 5; 0 after the last step."""
        share = at / (steps - 1).clamp(min=1)
        root = SIGMA_MAX ** (1 / RHO) + share * (SIGMA_MIN ** (1 / RHO) - SIGMA_MAX ** (1 / RHO))
        return torch.where(at < steps, root**RHO, torch.zeros(()))[:, None]


def tiny():
    return DiffusionConfig(), TensorSource({"x": circle()}, seed=0)


FAMILY = Family(
    "toy-diffusion", DiffusionConfig, DiffusionSettings, Denoiser, blocks, {"denoise": Denoise}, Heun(), Score(),
    plain_folder("toy-diffusion", DiffusionConfig, Denoiser), cost_of(Denoiser), ("x",), tiny,
)  # fmt: skip
