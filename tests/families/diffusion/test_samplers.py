"""Every step is diffusers' own, and every sampler converges as its paper says, where the answer is known."""

import math

import diffusers
import pytest
import torch

from makar.families.diffusion.config import DdpmPath
from makar.families.diffusion.path import ddpm_sigmas, karras
from makar.families.diffusion.samplers import SAMPLERS, advance, begin, sample
from makar.families.diffusion.settings import NAMES, DiffusionSettings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy

SDE = {"algorithm_type": "sde-dpmsolver++"}
THEIRS = {
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", SDE),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {"original_inference_steps": 40, "timestep_scaling": 1e3, "clip_sample": False}),
}
WITH_SIGMAS = ("euler", "euler_ancestral", "heun")
SHAPE = (3, 1, 4, 4)


def denoise(x, sigma):
    """Nothing that a net would say, but smooth."""
    sigma = sigma[:, None, None, None]
    return torch.tanh(x / (1 + sigma) + 0.3 * torch.sin(sigma.log()))


@pytest.mark.parametrize("steps", [4, 20])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("name", THEIRS)
def test_each_step_is_that_of_diffusers(name, schedule, steps):
    if name in WITH_SIGMAS and schedule == "squaredcos_cap_v2":
        pytest.skip("the first level is 20,000, and these of diffusers' take a difference of such numbers in float32")
    kind, options = THEIRS[name]
    betas = {"beta_schedule": schedule, "beta_start": 0.0001, "beta_end": 0.02}
    scheduler = getattr(diffusers, kind)(prediction_type="v_prediction", **betas, **options)
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps if name != "heun" else scheduler.timesteps[::2]
    if name in ("ddpm", "ddim", "lcm"):
        levels = torch.cat((ddpm_sigmas(DdpmPath(beta_schedule=schedule))[times], torch.zeros(1)))
    else:
        levels = scheduler.sigmas if name != "heun" else torch.cat((scheduler.sigmas[:1], scheduler.sigmas[1::2]))
    ours_random, theirs_random = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    trail = begin(levels[0] * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)), levels.expand(3, -1))
    theirs = trail.x if name in WITH_SIGMAS else trail.x / (1 + levels[0] ** 2).sqrt()
    more = {} if name in ("heun", "unipc") else {"generator": theirs_random}

    def step(x, sigma, time):
        full = x if name in WITH_SIGMAS else x * (1 + sigma**2).sqrt()
        velocity = (full / (1 + sigma**2) - denoise(full, sigma.expand(3))) * (1 + sigma**2).sqrt() / sigma
        if name in WITH_SIGMAS:
            scheduler.scale_model_input(x, time)
        return scheduler.step(velocity, time, x, **more).prev_sample

    for index in range(steps):
        trail, _ = advance(SAMPLERS[name], trail, denoise, lambda: torch.randn(SHAPE, generator=ours_random))
        theirs = step(theirs, levels[index], times[index])
        if name == "heun" and index < steps - 1:
            theirs = step(theirs, levels[index + 1], scheduler.timesteps[2 * index + 1])
        shrunk = (1 + levels[index + 1] ** 2).rsqrt()
        wanted = theirs * shrunk if name in WITH_SIGMAS else theirs
        torch.testing.assert_close(trail.x * shrunk, wanted, atol=1e-5, rtol=1e-5, msg=lambda said: f"{index}: {said}")
        theirs = trail.x if name in WITH_SIGMAS else trail.x * shrunk  # so that only a step's own error counts


def test_euler_is_that_of_flow_matching_too():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(7)
    time = scheduler.sigmas.clone()
    time[0] = 1 - 1e-4  # noise over signal has no number for "all noise"
    levels = time / (1 - time)
    trail = begin(levels[0] * torch.randn(SHAPE), levels.expand(3, -1))
    scheduler.sigmas = time
    theirs = trail.x * (1 - time[0])
    for index in range(7):
        full = theirs / (1 - time[index])
        said = denoise(full, levels[index].expand(3))
        theirs = scheduler.step((theirs - said) / time[index], scheduler.timesteps[index], theirs).prev_sample
        trail, _ = advance(SAMPLERS["euler"], trail, denoise, lambda: None)
        assert torch.allclose(trail.x * (1 - time[index + 1]), theirs, atol=1e-5)


MEANS, SPREAD = torch.tensor([-1.0, 0.4, 1.2], dtype=torch.float64), 0.3


def exact(x, sigma):
    """E[y | y + sigma * noise] for a mixture of three normal distributions in every place."""
    total = (SPREAD**2 + sigma**2)[:, None, None, None, None]
    away = x[..., None] - MEANS
    share = (-(away**2) / (2 * total)).softmax(-1)
    return (share * (MEANS + SPREAD**2 / total * away)).sum(-1)


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("euler", 1), ("heun", 2), ("dpmpp_2m", 2), ("unipc", 2.5)])
def test_errors_on_a_mixture_fall_at_the_sampler_s_order(name, order):
    start = torch.linspace(-2, 2, 16, dtype=torch.float64).view(1, 1, 4, 4) * 5

    def end(name, steps):
        levels = karras(0.05, 5.0, steps + 1, 3.0)[:-1].double()
        return sample(SAMPLERS[name], exact, start, levels)

    truth = end("heun", 1500)
    errors = [(end(name, steps) - truth).norm() for steps in (40, 80)]
    assert math.log2(errors[0] / errors[1]) > order - 0.3
    assert errors[1] < 0.1


@pytest.mark.parametrize(("name", "order"), [("ddpm", 1), ("euler_ancestral", 1), ("dpmpp_2m_sde", 1.5)])
def test_the_variance_of_a_normal_distribution_comes_out_at_the_sampler_s_order(name, order):
    """All is linear there, so a picture that holds the weight of each noise in a place of its own has it exactly."""

    def variance(steps):
        levels = karras(0.02, 10.0, steps + 1, 3.0)[:-1].double()
        weights = iter(torch.eye(steps + 1, dtype=torch.float64).view(-1, 1, 1, 1, steps + 1))
        x = sample(
            SAMPLERS[name],
            lambda x, sigma: x * SPREAD**2 / (SPREAD**2 + sigma[:, None, None, None] ** 2),
            next(weights) * (10.0**2 + SPREAD**2) ** 0.5,
            levels,
            noise=lambda: next(weights),
        )
        return float(x.square().sum())

    errors = [abs(variance(steps) - SPREAD**2 - 0.02**2) for steps in (40, 80)]
    assert math.log2(errors[0] / errors[1]) > order - 0.3
    assert errors[1] < 0.02


@pytest.mark.parametrize("name", SAMPLERS)
def test_rows_that_are_elsewhere_do_not_matter(name):
    """Two ways of other lengths, one of them begun later: each row goes as if it were alone."""
    long, short = karras(0.1, 9.0, 5), karras(0.1, 9.0, 3)
    x, noises = torch.randn(2, 1, 2, 2), torch.randn(9, 2, 1, 2, 2)
    alone = [
        sample(SAMPLERS[name], denoise, x[row : row + 1], levels, noise=iter(noises[:, row : row + 1]).__next__)
        for row, levels in enumerate((long, short))
    ]
    both = begin(x, torch.stack((long, torch.nn.functional.pad(short, (0, 2)))))
    for index in range(3):
        both, _ = advance(SAMPLERS[name], both, denoise, lambda: noises[index])
    assert torch.allclose(both.x[1], alone[1][0], atol=1e-5)
    rest = type(both)(*(leaf[:1] for leaf in (both.x, both.levels, both.at, both.past, both.before)))
    for index in range(3, 5):
        rest, _ = advance(SAMPLERS[name], rest, denoise, lambda: noises[index, :1])
    assert torch.allclose(rest.x, alone[0], atol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_end_is_a_picture_without_noise(name):
    x = sample(
        SAMPLERS[name], lambda x, sigma: torch.full_like(x, 0.25), 80 * torch.randn(SHAPE), karras(0.002, 80.0, 6)
    )
    assert torch.allclose(x, torch.tensor(0.25), atol=1e-5)


def test_the_callback_sees_every_step():
    seen = []
    sample(
        SAMPLERS["euler"], denoise, torch.randn(SHAPE), karras(0.1, 1.0, 4),
        callback=lambda trail, said: seen.append((int(trail.at[0]), said.shape)),
    )  # fmt: skip
    assert seen == [(step, SHAPE) for step in (1, 2, 3, 4)]


def test_all_names_lead_to_samplers():
    assert set(NAMES.values()) <= set(SAMPLERS)
    for name in SAMPLERS:
        assert DiffusionSettings(sampler=name).sampler == name
    for kind, _ in THEIRS.values():
        assert DiffusionSettings(sampler=kind).sampler in SAMPLERS
    assert DiffusionSettings(sampler="Sample_DPMPP_2M_SDE").sampler == "dpmpp_2m_sde"
