"""Paths are those of diffusers and of their papers."""

import diffusers
import numpy as np
import pytest
import torch

from makar.core.errors import RecipeError
from makar.core.random import Rng
from makar.families.diffusion.config import DdpmPath, EdmPath, FlowPath
from makar.families.diffusion.path import (
    ddpm_sigmas,
    ddpm_steps,
    draw,
    levels_of,
    limits,
    precondition,
    scale,
    time_of,
    visited,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy
PATHS = (DdpmPath(), DdpmPath(beta_schedule="squaredcos_cap_v2"), EdmPath(), FlowPath(), FlowPath(shift=3.0))
PREDICTIONS = ("noise", "data", "velocity")


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_schedules_are_diffusers_own(schedule):
    kept = diffusers.DDPMScheduler(beta_schedule=schedule).alphas_cumprod
    assert torch.equal(ddpm_sigmas(DdpmPath(beta_schedule=schedule)), ((1 - kept) / kept).sqrt())


@pytest.mark.parametrize("steps", [1, 7, 20, 999, 1000])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_steps_are_diffusers_own(spacing, steps):
    scheduler = diffusers.DDPMScheduler(timestep_spacing=spacing, steps_offset=0)
    scheduler.set_timesteps(steps)
    assert ddpm_steps(DdpmPath(timestep_spacing=spacing), steps).tolist() == scheduler.timesteps.tolist()


def test_flow_levels_are_diffusers_own_but_for_the_very_first():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(9)
    levels = levels_of(FlowPath(shift=3.0), 9)
    ours = levels / (1 + levels)
    assert ours[0] == pytest.approx(80 / 81)
    # diffusers shifts the least time twice: once as its own, and once as the schedule's
    assert torch.allclose(
        ours[1:-2], torch.linspace(1, 0.001, 9)[1:-1].mul(3) / (1 + 2 * torch.linspace(1, 0.001, 9)[1:-1]), atol=1e-6
    )
    plain = diffusers.FlowMatchEulerDiscreteScheduler()
    plain.set_timesteps(9)
    levels = levels_of(FlowPath(), 9)
    assert torch.allclose((levels / (1 + levels))[1:], plain.sigmas[1:], atol=1e-6)


def test_edm_levels_are_diffusers_own():
    scheduler = diffusers.EDMEulerScheduler()
    scheduler.set_timesteps(11)
    assert torch.allclose(levels_of(EdmPath(), 11), scheduler.sigmas, rtol=1e-4)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
@pytest.mark.parametrize("spacing", ["path", "karras"])
def test_levels_fall_to_zero_inside_the_limits(path, spacing):
    levels = levels_of(path, 20, spacing)
    least, greatest = limits(path)
    assert len(levels) == 21
    assert (levels[:-1] > levels[1:]).all()
    assert levels[-1] == 0
    assert levels[-2] >= least * (1 - 1e-3)
    assert levels[0] <= greatest * (1 + 1e-5)


@pytest.mark.parametrize("path", [*PATHS, DdpmPath(timestep_spacing="leading", steps_offset=1)], ids=repr)
@pytest.mark.parametrize("spacing", ["path", "karras"])
def test_no_two_levels_are_the_same_however_many(path, spacing):
    for steps in (1, 2, 27, 82, 100, 999):
        levels = levels_of(path, steps, spacing)
        assert len(levels) == steps + 1
        assert (levels[:-1] > levels[1:]).all()
        assert levels[0] <= limits(path)[1] * (1 + 1e-5)


@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
def test_the_ddpm_path_has_as_many_steps_as_were_asked_for_and_each_is_later(spacing):
    path = DdpmPath(timestep_spacing=spacing)
    for steps in range(1, 1001):
        chosen = ddpm_steps(path, steps)
        assert len(chosen) == steps
        assert chosen[-1] >= 0
        assert (np.diff(chosen) < 0).all()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
@pytest.mark.parametrize("spacing", ["path", "karras"])
def test_a_few_steps_begin_at_noise_and_all_of_them_do_something(path, spacing):
    for steps in (1, 2, 4):
        levels = visited(path, "lcm", steps, spacing)
        assert len(levels) == steps + 1
        assert levels[0] == levels_of(path, 4, spacing)[0]
        assert (levels[:-1] > levels[1:]).all()
        assert levels[-1] == 0
        assert levels[-2] > 0.1
        assert torch.equal(visited(path, "euler", steps, spacing), levels_of(path, steps, spacing))
    assert visited(FlowPath(), "lcm", 2)[1] == pytest.approx(1.0, rel=0.01), "half the way"


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_few_steps_of_the_ddpm_path_are_those_of_lcm_scheduler(steps):
    scheduler = diffusers.LCMScheduler(original_inference_steps=50)
    scheduler.set_timesteps(steps)
    every = ddpm_sigmas(DdpmPath())
    found = [int((every - sigma).abs().argmin()) for sigma in visited(DdpmPath(), "lcm", steps)[:-1]]
    assert found == pytest.approx(scheduler.timesteps.tolist(), abs=10), "its levels are those of fifty steps"


def test_more_steps_than_a_path_has_are_refused():
    with pytest.raises(RecipeError, match="at most 1000"):
        levels_of(DdpmPath(), 1001)
    with pytest.raises(RecipeError, match="steps_offset below 1"):
        levels_of(DdpmPath(timestep_spacing="leading", steps_offset=1), 1000)


@pytest.mark.parametrize("kind", ["noise", "data", "velocity"])
def test_predictions_are_diffusers_own(kind):
    """What the net ought to say, and what follows from it, by the scheduler's formulas."""
    scheduler = diffusers.DDPMScheduler()
    y, noise, steps = torch.randn(4, 1, 2, 2), torch.randn(4, 1, 2, 2), torch.tensor([0, 10, 500, 999])
    sigma = ddpm_sigmas(DdpmPath())[steps]
    x = y + sigma[:, None, None, None] * noise
    shown = scale(DdpmPath(), sigma)[:, None, None, None] * x
    assert torch.allclose(shown, scheduler.add_noise(y, noise, steps), atol=1e-5)
    said = {"noise": noise, "data": y, "velocity": scheduler.get_velocity(y, noise, steps)}[kind]
    skip, out = (part[:, None, None, None] for part in precondition(DdpmPath(), kind, sigma))
    assert torch.allclose(skip * x + out * said, y, atol=1e-4)


def test_flow_predictions_are_the_line_s():
    y, noise, time = torch.randn(3, 1, 2, 2), torch.randn(3, 1, 2, 2), torch.tensor([0.1, 0.5, 0.9])
    sigma, t = time / (1 - time), time[:, None, None, None]
    shown = scale(FlowPath(), sigma)[:, None, None, None] * (y + sigma[:, None, None, None] * noise)
    assert torch.allclose(shown, (1 - t) * y + t * noise, atol=1e-6)
    assert torch.allclose(time_of(FlowPath(), sigma), 1000 * time)
    skip, out = (part[:, None, None, None] for part in precondition(FlowPath(), "velocity", sigma))
    assert torch.allclose(skip * (y + sigma[:, None, None, None] * noise) + out * (noise - y), y, atol=1e-5)


def test_edm_keeps_variances_at_one():
    """Table 1's purpose: what goes into the net and what it is to say have variance 1, whatever the noise."""
    path = EdmPath()
    y = path.sigma_data * torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0))
    for level in (0.01, 0.5, 20.0):
        sigma = torch.tensor([level])
        x = y + sigma * torch.randn(1, 100_000, generator=torch.Generator().manual_seed(1))
        skip, out = precondition(path, "velocity", sigma)
        assert float((scale(path, sigma) * x).std()) == pytest.approx(1, abs=0.02)
        assert float(((y - skip * x) / out).std()) == pytest.approx(1, abs=0.02)


def test_the_net_hears_whole_steps_and_what_lies_between():
    path = DdpmPath()
    assert torch.equal(time_of(path, ddpm_sigmas(path)), torch.arange(1000.0))
    between = (ddpm_sigmas(path)[3] * ddpm_sigmas(path)[4]).sqrt()[None]
    assert float(time_of(path, between)) == pytest.approx(3.5, abs=1e-3)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_noise_in_training_belongs_to_the_row(path):
    rows = torch.arange(2000)
    sigma = draw(path, Rng(0, 3, rows))
    assert torch.equal(sigma[100:200], draw(path, Rng(0, 3, rows[100:200])))
    assert sigma.min() > 0
    assert sigma.isfinite().all()


def test_times_of_training_are_distributed_as_the_papers_say():
    rng = Rng(0, 0, torch.arange(20_000))
    logits = draw(FlowPath(logit_mean=0.3, logit_std=0.5), rng).log()
    assert (float(logits.mean()), float(logits.std())) == pytest.approx((0.3, 0.5), abs=0.02)
    strengths = draw(EdmPath(), rng).log()
    assert (float(strengths.mean()), float(strengths.std())) == pytest.approx((-1.2, 1.2), abs=0.04)
    steps = time_of(DdpmPath(), draw(DdpmPath(), rng))
    assert np.histogram(steps, 10, (0, 1000))[0].min() > 1800
