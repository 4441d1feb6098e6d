"""Paths from picture to noise, all seen the same way.

Whatever a path calls its time, a noisy picture is x = y + sigma * noise times some scale; sigma is noise over signal,
and only the scale and what the net is told of the time differ. So training and samplers speak of x = y + sigma * noise
alone, and a net F becomes the denoiser D(x; sigma) = c_skip x + c_out F(c_in x; c_noise).

Paper: Karras et al. 2022, arXiv 2206.00364, eq. 7 and table 1.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import RecipeError
from makar.core.random import Rng
from makar.families.diffusion.config import AnyPath, DdpmPath, EdmPath, FlowPath, Prediction

Sigma = Float[Tensor, " rows"]

FLOW_SIGMA_MAX = 80.0
"""Where a sampler begins on a flow's line: its very end is noise over nothing, and no net has seen it in training."""

FLOW_STEPS = 1000
"""What a net on a flow's line is told for "all noise", as diffusers does."""


def ddpm_sigmas(path: DdpmPath) -> Float[Tensor, " steps"]:
    """Noise over signal at each of a path's steps, rising."""
    return rising(path.beta_schedule, path.num_train_timesteps, path.beta_start, path.beta_end)


@lru_cache(maxsize=8)
def rising(schedule: str, count: int, first: float, last: float) -> Float[Tensor, " steps"]:
    """The levels of a schedule of betas, computed in float32 as diffusers does."""
    if schedule == "linear":
        betas = torch.linspace(first, last, count)
    elif schedule == "scaled_linear":
        betas = torch.linspace(first**0.5, last**0.5, count) ** 2
    else:
        left = [math.cos((step / count + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(count + 1)]
        betas = torch.tensor([min(1 - after / now, 0.999) for now, after in zip(left[:-1], left[1:], strict=True)])
    kept = torch.cumprod(1 - betas, 0)
    return ((1 - kept) / kept).sqrt()


def scale(path: AnyPath, sigma: Sigma) -> Sigma:
    """c_in: what y + sigma * noise is multiplied with before the net sees it."""
    match path:
        case DdpmPath():
            return (1 + sigma**2).rsqrt()
        case EdmPath():
            return (path.sigma_data**2 + sigma**2).rsqrt()
        case FlowPath():
            return 1 / (1 + sigma)


def time_of(path: AnyPath, sigma: Sigma) -> Sigma:
    """c_noise: what the net is told of the noise."""
    match path:
        case DdpmPath():
            return step_of(path, sigma)
        case EdmPath():
            return sigma.log() / 4
        case FlowPath():
            return FLOW_STEPS * sigma / (1 + sigma)


def step_of(path: DdpmPath, sigma: Sigma) -> Sigma:
    """The step whose noise this is; between two, by the logarithm."""
    levels = ddpm_sigmas(path).to(sigma.device).log()
    wanted = sigma.log().clamp(levels[0], levels[-1])
    low = (torch.searchsorted(levels, wanted, right=True) - 1).clamp(0, len(levels) - 2)
    below, above = levels[low], levels[low + 1]
    step = low + (wanted - below) / (above - below)
    near = step.round()
    return torch.where((step - near).abs() < 1e-3, near, step)  # the logarithm's rounding is no step


def precondition(path: AnyPath, prediction: Prediction, sigma: Sigma) -> tuple[Sigma, Sigma]:
    """c_skip and c_out: what makes the net's word a picture. For "velocity" as the path's own paper has it."""
    if prediction == "noise":
        return torch.ones_like(sigma), -sigma
    if prediction == "data":
        return torch.zeros_like(sigma), torch.ones_like(sigma)
    match path:
        case DdpmPath():  # v = alpha * noise - sigma * y. Paper: arXiv 2202.00512, appendix D
            return 1 / (1 + sigma**2), -sigma * (1 + sigma**2).rsqrt()
        case EdmPath():
            total = sigma**2 + path.sigma_data**2
            return path.sigma_data**2 / total, sigma * path.sigma_data * total.rsqrt()
        case FlowPath():  # noise - y
            return 1 / (1 + sigma), -sigma / (1 + sigma)


def draw(path: AnyPath, rng: Rng) -> Sigma:
    """The noise of each row in training."""
    match path:
        case DdpmPath():
            levels = ddpm_sigmas(path).to(rng.rows.device)
            return levels[rng.integers("time", len(levels))]
        case EdmPath():
            return (path.p_mean + path.p_std * rng.normal("time")).exp()
        case FlowPath():
            time = torch.sigmoid(path.logit_mean + path.logit_std * rng.normal("time"))
            return (path.shift * time / (1 - time)).clamp(max=FLOW_SIGMA_MAX)


def limits(path: AnyPath) -> tuple[float, float]:
    """The least and the greatest noise that a sampler meets."""
    match path:
        case DdpmPath():
            levels = ddpm_sigmas(path)
            return float(levels[0]), float(levels[-1])
        case EdmPath():
            return path.sigma_min, path.sigma_max
        case FlowPath():
            return path.shift / (FLOW_STEPS - 1), FLOW_SIGMA_MAX


def levels_of(path: AnyPath, steps: int, spacing: str = "path") -> Float[Tensor, " levels"]:
    """The noise levels that a sampler visits, falling; one more than steps, and the last is 0.

    Args:
        path: Of the model.
        steps: How many.
        spacing: "path" or "karras".

    Raises:
        RecipeError: The path has fewer steps.
    """
    if isinstance(path, EdmPath) or spacing == "karras":
        rho = path.rho if isinstance(path, EdmPath) else 7.0
        return karras(*limits(path), steps, rho)
    if isinstance(path, DdpmPath):
        chosen = torch.from_numpy(ddpm_steps(path, steps))
        return torch.cat((ddpm_sigmas(path)[chosen], torch.zeros(1)))
    time = torch.linspace(1, 1 / FLOW_STEPS, steps, dtype=torch.float64)
    first = FLOW_SIGMA_MAX / (FLOW_SIGMA_MAX + path.shift)
    if steps > 1 and time[1] >= first:  # two levels would be the limit, and from a level to itself is no step
        time = torch.linspace(first, 1 / FLOW_STEPS, steps, dtype=torch.float64)
    sigma = (path.shift * time / (1 - time)).clamp(max=FLOW_SIGMA_MAX)
    return torch.cat((sigma.float(), torch.zeros(1)))


def visited(path: AnyPath, sampler: str, steps: int, spacing: str = "path") -> Float[Tensor, " levels"]:
    """The noise levels that a sampler visits: `levels_of`, but for one that goes to the picture at each of a few steps.

    From a level next to the picture there is nothing left to do. So "lcm" leaves the weakest of one level more out, and
    on the path of DDPM it divides the way evenly from its end, as `LCMScheduler` does.

    Args:
        path: Of the model.
        sampler: Its name among `settings.SamplerName`.
        steps: How many.
        spacing: "path" or "karras".

    Raises:
        RecipeError: The path has fewer steps.
    """
    if sampler != "lcm":
        return levels_of(path, steps, spacing)
    if isinstance(path, DdpmPath) and spacing == "path":
        return levels_of(path.model_copy(update={"timestep_spacing": "trailing"}), steps)
    return torch.cat((levels_of(path, steps + 1, spacing)[:-2], torch.zeros(1)))


def karras(least: float, greatest: float, steps: int, rho: float = 7.0) -> Float[Tensor, " levels"]:
    """Levels whose rho-th roots are evenly spaced, then 0. Paper: arXiv 2206.00364, eq. 5."""
    share = torch.linspace(0, 1, steps, dtype=torch.float64)
    root = greatest ** (1 / rho) + share * (least ** (1 / rho) - greatest ** (1 / rho))
    return torch.cat((root**rho, torch.zeros(1))).float()


def ddpm_steps(path: DdpmPath, steps: int) -> np.ndarray:
    """The steps that a sampler visits, falling. Paper: arXiv 2305.08891, table 2."""
    count = path.num_train_timesteps
    if steps > count:
        raise RecipeError("more steps than the path has", where="steps", value=steps, fix=f"take at most {count}")
    if path.timestep_spacing == "linspace":
        chosen = np.linspace(0, count - 1, steps).round()[::-1]
    elif path.timestep_spacing == "leading":
        chosen = np.arange(steps)[::-1] * (count // steps) + path.steps_offset
        if chosen[0] >= count:
            fix = f"take fewer, or set steps_offset below {count - chosen[0] + path.steps_offset}"
            raise RecipeError("steps beyond the path's last", where="steps", value=steps, fix=fix)
    else:
        chosen = np.round(np.arange(count, 0, -count / steps)[:steps]) - 1  # by rounding it may hold one more
    return chosen.astype(np.int64).copy()
