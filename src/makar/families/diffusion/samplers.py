"""Samplers: ways from noise to a picture, as free functions over a denoiser.

Each is a step: given where every row is, it asks the denoiser and says where the row is next. All speak of
x = y + sigma * noise, in which many samplers known by several names are the same sum: DDIM and Euler's method, and DDPM
and "Euler ancestral", differ only in how they are usually written. `sample` is the loop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from makar.families.diffusion.denoise import Denoise, Images, over

Noise = Callable[[], Tensor]
"""Standard normal noise in the shape of the pictures; each row's its own, and new at each step."""


@dataclass(frozen=True)
class Trail:
    """Where each row is on its way.

    Args:
        x: y + sigma * noise.
        levels: The noise levels of the row's way, falling, the last 0 (and zeros behind it).
        at: Which of them it is at.
        past: What the denoiser said at the last two levels, newest first: `[rows, 2, channels, high, wide]`.
        before: The picture at the last level.
    """

    x: Images
    levels: Float[Tensor, "rows levels"]
    at: Int[Tensor, " rows"]
    past: Float[Tensor, "rows 2 channels high wide"]
    before: Images

    def sigma(self, ahead: int = 0) -> Float[Tensor, " rows"]:
        """The noise level here, or so many steps on (or back; before the first, the first)."""
        place = (self.at + ahead).clamp(0, self.levels.shape[1] - 1)
        return self.levels.gather(1, place[:, None]).squeeze(1)

    @property
    def last(self) -> Tensor:
        """Whether the step from here is a row's last."""
        return self.sigma(1) == 0


Step = Callable[[Trail, Denoise, Noise], tuple[Tensor, Tensor, Tensor]]
"""From a trail to where x is next, what the denoiser said, and the x that it is to be remembered with."""


def begin(x: Images, levels: Float[Tensor, "rows levels"]) -> Trail:
    """A trail at its first level, which x has."""
    zeros = torch.zeros_like(x)
    at = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return Trail(x, levels, at, torch.stack((zeros, zeros), 1), zeros)


def advance(step: Step, trail: Trail, denoise: Denoise, noise: Noise) -> tuple[Trail, Images]:
    """One step for every row.

    Returns:
        The trail one level on, and what the denoiser said.
    """
    x, said, here = step(trail, denoise, noise)
    past = torch.stack((said, trail.past[:, 0]), 1)
    return replace(trail, x=x, at=trail.at + 1, past=past, before=here), said


def sample(
    step: Step,
    denoise: Denoise,
    x: Images,
    levels: Float[Tensor, " levels"],
    *,
    noise: Noise | None = None,
    callback: Callable[[Trail, Images], None] | None = None,
) -> Images:
    """Go all the way.

    Args:
        step: One of `SAMPLERS`.
        denoise: D(x; sigma).
        x: Where to begin: at the first level.
        levels: Falling, the last 0.
        noise: For the samplers that draw; torch's own if left out.
        callback: Sees where every row is, and what the denoiser said, after each step.
    """
    trail = begin(x, levels.expand(len(x), -1))
    for _ in range(len(levels) - 1):
        trail, said = advance(step, trail, denoise, noise or partial(torch.randn_like, x))
        if callback is not None:
            callback(trail, said)
    return trail.x


def ancestral(trail: Trail, denoise: Denoise, noise: Noise, eta: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Towards the expected picture, a part of the noise drawn anew. Paper: DDIM, arXiv 2010.02502, eq. 12 and 16.

    With eta 0 it is DDIM, which is Euler's method on the probability flow; with eta 1 it is DDPM's posterior with the
    lesser variance (arXiv 2006.11239, eq. 7), which others call "Euler ancestral".
    """
    sigma, after = trail.sigma(), trail.sigma(1)
    said = denoise(trail.x, sigma)
    fresh = eta * after * (1 - (after / sigma) ** 2).clamp(min=0).sqrt()
    kept = (after**2 - fresh**2).clamp(min=0).sqrt() / sigma
    x = said + over(kept) * (trail.x - said)
    if eta and not bool(trail.last.all()):
        x = x + over(fresh) * noise()
    return x, said, trail.x


def heun(trail: Trail, denoise: Denoise, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    """Euler's step, and again with the mean of the slopes at both ends. Paper: arXiv 2206.00364, algorithm 1."""
    sigma, after, last = trail.sigma(), trail.sigma(1), trail.last
    said = denoise(trail.x, sigma)
    slope = (trail.x - said) / over(sigma)
    x = said + over(after / sigma) * (trail.x - said)
    if bool(last.all()):
        return x, said, trail.x
    there = torch.where(last, sigma, after)  # a row that ends here is asked again for nothing
    second = (x - denoise(x, there)) / over(there)
    mean = trail.x + over(after - sigma) * (slope + second) / 2
    return torch.where(over(last), x, mean), said, trail.x


def spans(trail: Trail) -> tuple[Tensor, Tensor]:
    """The logarithm's steps: to the next level (0 where that is none), and from the last (1 where there was none)."""
    sigma = trail.sigma()
    ahead = (sigma / torch.where(trail.last, sigma, trail.sigma(1))).log()
    behind = torch.where(trail.at > 0, (trail.sigma(-1) / sigma).log(), 1.0)
    return ahead, behind


def dpmpp_2m(trail: Trail, denoise: Denoise, noise: Noise, *, drawn: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """DPM-Solver++ of second order with the last step's memory. Paper: arXiv 2211.01095, algorithm 2.

    Its first and its last step are of first order. With `drawn` it solves the stochastic equation: eq. 18.
    """
    sigma, after = trail.sigma(), trail.sigma(1)
    said = denoise(trail.x, sigma)
    ahead, behind = spans(trail)
    slope = over(torch.where((trail.at > 0) & ~trail.last, ahead / behind, 0.0)) * (said - trail.past[:, 0])
    kept = (after / sigma) ** (2 if drawn else 1)
    x = over(kept) * trail.x + over(1 - kept) * (said + slope / 2)
    if drawn and not bool(trail.last.all()):
        x = x + over(after * (1 - kept).sqrt()) * noise()
    return x, said, trail.x


def unipc(trail: Trail, denoise: Denoise, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    """UniPC of second order with B(h) = exp(h) - 1: predict, and correct when the next level has been seen.

    Paper: arXiv 2302.04867, algorithms 5 and 6.
    """
    sigma, after = trail.sigma(), trail.sigma(1)
    said = denoise(trail.x, sigma)
    here = torch.where(over(trail.at > 0), corrected(trail, said), trail.x)
    ahead, behind = spans(trail)
    slope = over(torch.where((trail.at > 0) & ~trail.last, ahead / behind, 0.0)) * (said - trail.past[:, 0])
    kept = over(after / sigma)
    return kept * here + (1 - kept) * (said + slope / 2), said, here


def corrected(trail: Trail, said: Images) -> Images:
    """The last step once more, now that the denoiser has been asked where it led."""
    first = trail.at == 1  # the last step was the first, of first order
    sigma, before, earlier = trail.sigma(), trail.sigma(-1), trail.sigma(-2)
    step = torch.where(trail.at > 0, (before / sigma).log(), 1.0)
    back = torch.where(trail.at > 1, (earlier / before).log(), step)
    phi = torch.expm1(-step)
    weight1 = (phi / -step - 1) / phi
    weight2 = 2 * ((phi / -step - 1) / -step - 0.5) / phi
    ratio = -back / step
    old = torch.where(first, 0.0, (weight1 - weight2) / (1 - ratio))
    new = torch.where(first, 0.5, weight1 - old)
    latest, older = trail.past[:, 0], trail.past[:, 1]
    turn = over(old / ratio) * (older - latest) + over(new) * (said - latest)
    return over(sigma / before) * trail.before - over(phi) * (latest + turn)


def lcm(trail: Trail, denoise: Denoise, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
    """To the picture in one step, and back to less noise, for a denoiser that was taught to. arXiv 2303.01469, alg. 1.

    That it is the identity at no noise is the model's matter, and no part of the step.
    """
    said = denoise(trail.x, trail.sigma())
    if bool(trail.last.all()):
        return said, said, trail.x
    return said + over(trail.sigma(1)) * noise(), said, trail.x


SAMPLERS: Mapping[str, Step] = {
    "ddpm": ancestral,
    "ddim": partial(ancestral, eta=0.0),
    "euler": partial(ancestral, eta=0.0),
    "euler_ancestral": ancestral,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": partial(dpmpp_2m, drawn=True),
    "unipc": unipc,
    "lcm": lcm,
}
"""By our name; `settings.NAMES` has those of others."""
