"""The code of a given picture, found by going downhill from the best of many drawn ones: inversion.

Each row is searched for alone, so that it finds the same whatever stands beside it.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.core.nouns import Model
from makar.core.random import Rng
from makar.families.gan.build import Gan, config_of
from makar.families.gan.codes import Code, middle

TRIED = 256
"""Codes to choose the beginning from."""

RATE = 0.1
"""Standard deviations of the code that a step goes at first."""

PRIOR = 1e-3
"""Weight of the code's distance to the middle, in standard deviations: codes far out make no good pictures."""

BETAS = (0.9, 0.99)

Picture = Float[Tensor, "channels high wide"]


@dataclass(frozen=True)
class Search:
    """Where the search for a row's code is.

    Args:
        code: In standard deviations from the middle of the space.
        mean: That middle.
        spread: Those deviations.
        first: Running mean of the gradient.
        second: Of its square.
    """

    code: Code
    mean: Code
    spread: Code
    first: Code
    second: Code


def begun(model: Model[Gan], target: Picture, label: int | None, seed: int) -> Search:
    """From the drawn code whose picture is nearest.

    Args:
        model: Of this family.
        target: The picture.
        label: Its class; None if nobody knows it, and then codes of all classes are tried.
        seed: Of the codes.
    """
    net, count, device = model.net, config_of(model).net.num_classes, model.device
    rng = Rng(seed, 0, torch.arange(TRIED))
    labels = rng.integers("label", max(1, count)) if label is None else torch.full((TRIED,), label)
    latents = rng.normal("tried", net.generator.latent_size).to(device)
    codes = net.generator.code(latents, labels.to(device) if count else None)
    errors = (net.generator.draw(codes) - target).square().mean((1, 2, 3))
    mean, spread = middle(model, None)
    none = torch.zeros_like(mean)
    return Search((codes[errors.argmin()] - mean) / spread, mean, spread, none, none)


def stepped(net: Gan, search: Search, target: Picture, at: int, steps: int) -> Search:
    """One step of Adam downhill. Paper: arXiv 1412.6980, algorithm 1.

    Args:
        net: Both players.
        search: Where it is.
        target: The picture.
        at: Steps taken.
        steps: Of the whole search; a step's length falls to 0 with them.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():  # what the engine made cannot be differentiated
        goal, mean, spread = target.clone(), search.mean.clone(), search.spread.clone()
        code = search.code.clone().requires_grad_()
        made = net.generator.draw((mean + code * spread)[None])[0]
        loss = distance(made, goal) + PRIOR * code.square().mean()
        (gradient,) = torch.autograd.grad(loss, code)
    first = torch.lerp(gradient, search.first, BETAS[0])
    second = torch.lerp(gradient.square(), search.second, BETAS[1])
    mean, square = first / (1 - BETAS[0] ** (at + 1)), second / (1 - BETAS[1] ** (at + 1))
    code = search.code - RATE * (1 - at / steps) * mean / (square.sqrt() + 1e-8)
    return replace(search, code=code, first=first, second=second)


def distance(made: Picture, target: Picture) -> Float[Tensor, ""]:
    """Mean squared error at full, half and quarter size: coarse likeness comes first."""
    error = (made - target)[None]
    total = error.square().mean()
    for _ in range(2):
        if min(error.shape[2:]) < 4:
            break
        error = F.avg_pool2d(error, 2)
        total = total + error.square().mean()
    return total
