"""A denoiser that is told more: what is small of a picture, and that it has no edge."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from makar.core.errors import InputError
from makar.core.nouns import Request
from makar.engine.run import Engine
from makar.families.diffusion.denoise import like_small, seamless
from makar.families.diffusion.sample import shifts
from makar.families.diffusion.samplers import SAMPLERS
from makar.families.diffusion.settings import DiffusionSettings
from tests.families.diffusion.conftest import make


def ask(model, prompt, seed=0, **settings):
    chosen = DiffusionSettings(**({"steps": 4} | settings))
    return Engine(model).generate([Request(prompt, seed, chosen)])[0].data


def test_what_is_small_of_it_is_kept_and_the_rest_is_the_denoiser_s():
    found, low = torch.randn(3, 2, 8, 8), torch.randn(3, 2, 2, 2)
    factors = torch.tensor([4, 1, 4])
    small = F.interpolate(low, scale_factor=4.0, mode="nearest")
    said = like_small(lambda x, sigma: x, small, factors)(found, torch.ones(3))
    torch.testing.assert_close(F.avg_pool2d(said, 4)[[0, 2]], low[[0, 2]])
    assert torch.equal(said[1], found[1])
    residue = said - F.interpolate(F.avg_pool2d(said, 4), scale_factor=4.0)
    wanted = found - F.interpolate(F.avg_pool2d(found, 4), scale_factor=4.0)
    torch.testing.assert_close(residue[[0, 2]], wanted[[0, 2]])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_made_large_is_the_small_one_when_made_small(name):
    """Whatever the sampler: the last step's noise is 0, and the picture is what the denoiser says."""
    model, low = make(), torch.rand(1, 4, 4) * 1.2 - 0.6
    state = model.family.sampler.start(
        model, [Request({"label": 1, "small": low}, 3, DiffusionSettings(steps=5, sampler=name))]
    )
    for _ in range(5):
        state, _ = model.family.sampler.step(model, state)
    torch.testing.assert_close(F.avg_pool2d(state["x"][0], 2), low, atol=1e-4, rtol=1e-4)


def test_rows_with_a_small_picture_and_without_share_a_batch():
    model, low = make(), torch.rand(1, 4, 4)
    prompts = [1, {"label": 1, "small": low}]
    together = Engine(model).generate([Request(prompt, 2, DiffusionSettings(steps=3)) for prompt in prompts])
    for prompt, answer in zip(prompts, together, strict=True):
        gap = np.asarray(answer.data).astype(int) - np.asarray(ask(model, prompt, 2, steps=3))
        assert np.abs(gap).max() <= 1
    assert together[0].data != together[1].data


@pytest.mark.parametrize("side", [3, 8, 16])
def test_a_small_picture_that_does_not_fit_is_refused(side):
    with pytest.raises(InputError, match="whose side divides 8"):
        ask(make(), {"label": 1, "small": torch.zeros(1, side, side)})


def test_the_net_is_shown_a_picture_as_it_goes_on_beyond_its_sides():
    x, moves = torch.randn(2, 1, 4, 4), torch.tensor([[1, 2], [0, 3]])
    seen = []
    said = seamless(lambda x, sigma: seen.append(x) or 2 * x, moves)(x, torch.ones(2))
    torch.testing.assert_close(said, 2 * x)
    for row, (lines, columns) in enumerate(moves.tolist()):
        assert torch.equal(seen[0][row, 0, (0 + lines) % 4, (0 + columns) % 4], x[row, 0, 0, 0])


def test_a_texture_moves_from_step_to_step_and_other_rows_stay():
    model = make()
    chosen = [DiffusionSettings(steps=4, tile=tile) for tile in (True, False)]
    state = model.family.sampler.start(model, [Request(1, 5, each) for each in chosen])
    first = shifts(state)
    later = shifts(state | {"at": state["at"] + 1})
    assert not first[1].any()
    assert not torch.equal(first[0], later[0])
    assert ask(model, 1, 5, tile=True) == ask(model, 1, 5, tile=True) != ask(model, 1, 5)


@torch.no_grad()
def test_opposite_sides_fit():
    """A denoiser that blurs, and knows nothing beyond the edge, leaves a step there; with `seamless` it does not."""
    kernel = torch.ones(1, 1, 5, 5) / 25

    def blur(x, sigma):
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), kernel)

    torch.manual_seed(0)
    plain = whole = torch.randn(16, 1, 16, 16)
    for step in range(12):
        moves = torch.randint(16, (16, 2), generator=torch.Generator().manual_seed(step))
        plain, whole = blur(plain, None), seamless(blur, moves)(whole, torch.ones(16))
    seam, within = ((each[..., 0] - each[..., -1]).abs().mean() for each in (plain, whole))
    inside = (whole[..., 1:] - whole[..., :-1]).abs().mean()
    assert within < 2 * inside < seam
