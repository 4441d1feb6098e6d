"""The denoiser, and guidance by the formulas of its papers."""

import dataclasses

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from makar.families.diffusion.denoise import (
    Guidance,
    expected,
    guided,
    kept_outside,
    predict,
    within_range,
)
from makar.families.diffusion.path import precondition
from tests.families.diffusion.conftest import make

ROWS = 3
SIGMA = torch.tensor([0.2, 1.0, 9.0])
LABELS = torch.tensor([0, 1, 2])
NONE = torch.tensor([3, 3, 3])


def guidance(scale, low=0.0, high=1e6, rescale=0.0):
    return Guidance(*(torch.full((ROWS,), float(value)) for value in (scale, low, high, rescale)))


@pytest.fixture
def x():
    return torch.randn(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("path", ["ddpm", "edm", "flow"])
@pytest.mark.parametrize("prediction", ["noise", "data", "velocity"])
@torch.no_grad()
def test_a_net_that_is_told_nothing_new_says_the_same(path, prediction, x):
    """Whatever a net predicts, the expected picture follows from what it says by c_skip and c_out."""
    model = make(path=path, prediction=prediction)
    skip, out = (part[:, None, None, None] for part in precondition(model.config.path, prediction, SIGMA))
    wanted = skip * x + out * predict(model, x, SIGMA, LABELS)
    assert torch.equal(expected(model, x, SIGMA, LABELS), wanted)


@torch.no_grad()
def test_guidance_goes_on_beyond_the_class(model, x):
    named, unnamed = expected(model, x, SIGMA, LABELS), expected(model, x, SIGMA, NONE)
    assert torch.allclose(guided(model, LABELS, guidance(1))(x, SIGMA), named)
    assert torch.allclose(guided(model, LABELS, guidance(0))(x, SIGMA), unnamed, atol=1e-5)
    assert torch.allclose(guided(model, LABELS, guidance(3))(x, SIGMA), unnamed + 3 * (named - unnamed), atol=1e-4)


@torch.no_grad()
def test_guidance_keeps_to_its_interval(model, x):
    named, full = expected(model, x, SIGMA, LABELS), guided(model, LABELS, guidance(3))(x, SIGMA)
    found = guided(model, LABELS, guidance(3, low=0.5, high=5, rescale=0.7))(x, SIGMA)
    plain = guided(model, LABELS, guidance(3, low=0.5, high=5))(x, SIGMA)
    assert torch.allclose(plain[[0, 2]], named[[0, 2]], atol=1e-5)
    assert torch.allclose(plain[1], full[1], atol=1e-5)
    assert torch.allclose(found[[0, 2]], named[[0, 2]], atol=1e-5)


@torch.no_grad()
def test_rescaling_is_that_of_diffusers(x):
    model = make(path="ddpm", prediction="noise")
    named, unnamed = predict(model, x, SIGMA, LABELS), predict(model, x, SIGMA, NONE)
    said = rescale_noise_cfg(unnamed + 4 * (named - unnamed), named, guidance_rescale=0.7)
    wanted = x - SIGMA[:, None, None, None] * said
    assert torch.allclose(guided(model, LABELS, guidance(4, rescale=0.7))(x, SIGMA), wanted, atol=1e-3)


@torch.no_grad()
def test_a_lesser_model_guides(model, x):
    lesser = make(net="dit", path="edm")
    led = dataclasses.replace(model, parts={"guide": lesser})
    good, worse = expected(model, x, SIGMA, LABELS), expected(lesser, x, SIGMA, LABELS)
    assert torch.allclose(guided(led, LABELS, guidance(2))(x, SIGMA), 2 * good - worse, atol=1e-4)


def test_pictures_stay_in_range_and_known_places_stay():
    known, mask = torch.full((1, 1, 2, 2), 0.25), torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])
    loud = within_range(lambda x, sigma: x * 9)
    found = kept_outside(loud, known, mask)(torch.ones(1, 1, 2, 2), torch.ones(1))
    assert found.flatten().tolist() == [0.25, 1, 1, 0.25]


@torch.no_grad()
def test_a_net_that_has_learned_nothing_is_rescaled_to_nothing_worse(x):
    model = make()
    for parameter in model.net.parameters():
        parameter.zero_()
    plain = guided(model, LABELS, None)(x, SIGMA)
    assert torch.equal(guided(model, LABELS, guidance(3, rescale=0.7))(x, SIGMA), plain)
