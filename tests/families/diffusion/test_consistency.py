"""Consistency tuning: its first steps by hand, its targets, and how the gap closes."""

import copy

import pytest
import torch

from makar.core.errors import InputError, RecipeError
from makar.core.random import Rng
from makar.families.diffusion.consistency import SOFT, Consistency
from makar.families.diffusion.denoise import expected
from makar.families.diffusion.path import limits
from tests.families.diffusion.conftest import PATHS, make


def batch(rows=6):
    return {"images": torch.rand(rows, 1, 8, 8) * 2 - 1, "label": torch.arange(rows) % 3}


def stream(rows=6, step=0):
    return Rng(0, step, torch.arange(rows))


def noises(rng, path):
    sigma = (-1.1 + 2 * rng.normal("sigma")).exp()
    return sigma.clamp(*limits(PATHS[path]))


@pytest.mark.parametrize("path", PATHS)
@torch.no_grad()
def test_where_the_weaker_noise_is_none_the_target_is_the_picture(path):
    model, rows, rng = make(path=path), batch(), stream()
    objective = Consistency()
    sigma, noise = noises(rng, path), rng.normal("noise", 1, 8, 8)
    weaker = sigma * objective.share(sigma, 0)
    plain = weaker < limits(PATHS[path])[0]
    weaker = torch.where(plain, 0.0, weaker)
    assert plain.any()
    said = expected(model, rows["images"] + sigma[:, None, None, None] * noise, sigma, rows["label"])
    soft = SOFT * 8
    gap = (said - rows["images"]).square().flatten(1).sum(1)
    wanted = (((gap + soft**2).sqrt() - soft) / (sigma - weaker))[plain].sum()
    some = {name: column[plain] for name, column in rows.items()}
    torch.testing.assert_close(objective(model, some, "", rng.at(rng.rows[plain])).sum, wanted, rtol=1e-4, atol=1e-4)


def test_what_it_said_itself_is_a_target_and_learns_nothing():
    """The gradient is that of a loss with the target held fixed by a copy of the net."""
    model, rows = make(), batch()
    model.net.train()
    rng = stream(step=5000)
    objective = Consistency(doubling=500)
    objective(model, rows, "", rng).sum.backward()
    teacher = make()
    teacher.net.load_state_dict(copy.deepcopy(model.net.state_dict()))
    again = make()
    sigma, noise = noises(rng, "flow"), rng.normal("noise", 1, 8, 8)
    weaker = sigma * objective.share(sigma, 5000)
    cells = (slice(None), None, None, None)
    with torch.no_grad():
        target = expected(teacher, rows["images"] + weaker[cells] * noise, weaker, rows["label"])
    said = expected(again, rows["images"] + sigma[cells] * noise, sigma, rows["label"])
    gap = (said - target).square().flatten(1).sum(1)
    (((gap + (SOFT * 8) ** 2).sqrt() - SOFT * 8) / (sigma - weaker)).sum().backward()
    for one, other in zip(model.net.parameters(), again.net.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_the_gap_is_halved_every_so_many_steps():
    sigma, objective = torch.tensor([50.0]), Consistency(doubling=10)
    gaps = [1 - float(objective.share(sigma, step)) for step in (0, 9, 10, 20)]
    assert gaps == pytest.approx([0.5, 0.5, 0.25, 0.125], rel=1e-5)
    assert float(objective.share(torch.tensor([0.1]), 0)) == 0


def test_however_long_it_learns_there_is_a_gap_to_divide_by():
    model, sigma = make(), torch.tensor([0.01, 1.0, 80.0])
    objective = Consistency(doubling=10)
    assert bool((objective.share(sigma, 100_000) < 1).all())
    model.net.train()
    loss = objective(model, batch(), "", stream(step=100_000))
    loss.sum.backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.net.parameters())


def test_what_makes_no_sense_is_refused():
    with pytest.raises(RecipeError, match="above 0"):
        Consistency(doubling=0)
    with pytest.raises(InputError, match="no labels"):
        Consistency().prepare(make(), {"images": torch.zeros(1, 1, 8, 8)}, stream(1))
