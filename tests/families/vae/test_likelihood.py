"""Each likelihood is one: it adds up to 1, and says what its formula says."""

import itertools
import math

import pytest
import torch
from torch.distributions import Normal

from makar.families.vae.likelihood import bernoulli, bits_per_dim, gaussian, logistic, middle, shown
from tests.families.vae.conftest import make, rng

LEVELS = torch.arange(256) / 127.5 - 1


@pytest.mark.parametrize(("mean", "log_scale"), [(0.1, -3.0), (-1.4, -1.0), (0.999, -6.9), (0.3, -50.0), (0.0, 4.0)])
def test_the_256_levels_of_a_logistic_add_up_to_one(mean, log_scale):
    said = torch.tensor([mean, log_scale]).expand(256, 2)[:, :, None, None]
    values = logistic(said, LEVELS[:, None, None, None], None)
    assert float(values.exp().sum()) == pytest.approx(1, abs=2e-5)


def test_a_logistic_is_finite_and_learns_however_far_off_it_is():
    said = torch.tensor([30.0, -7.0, -30.0, -7.0, 0.0, 0.0]).reshape(3, 2, 1, 1).requires_grad_()
    values = logistic(said, torch.tensor([-1.0, 1.0, 1.0]).reshape(3, 1, 1, 1), None)
    values.sum().backward()
    assert values.isfinite().all()
    assert said.grad.isfinite().all()
    assert (said.grad[:2, 0].flatten() * torch.tensor([-1, 1]) > 0).all()


def test_black_and_white_add_up_to_one():
    said = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    every = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4))).reshape(16, 1, 2, 2)
    assert float(bernoulli(said.expand(16, -1, -1, -1), every, None).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_a_gaussian_is_torchs():
    torch.manual_seed(0)
    said, images, log_scale = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.tensor([-1.0, 0.5])
    wanted = Normal(said, log_scale.exp()[:, None, None]).log_prob(images).flatten(1).sum(1)
    assert torch.allclose(gaussian(said, images, log_scale), wanted, atol=1e-4)


def test_bits_are_those_of_256_levels():
    nats = torch.tensor([-64 * math.log(256)])
    assert float(bits_per_dim(make().config, nats)) == pytest.approx(8)
    flat = torch.tensor([-64 * math.log(2)])  # a density of 1/2 everywhere on -1 to 1
    assert float(bits_per_dim(make(likelihood="gaussian").config, flat)) == pytest.approx(math.log2(255))


def test_black_and_white_are_drawn_as_often_as_a_picture_is_bright():
    config = make(likelihood="bernoulli").config
    images = torch.full((400, 1, 8, 8), 0.5)
    drawn = shown(config, images, rng(400))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert float((drawn > 0).float().mean()) == pytest.approx(0.75, abs=0.01)
    assert torch.equal(drawn[7:9], shown(config, images[7:9], rng(400).at(torch.tensor([7, 8]))))
    assert (shown(config, images) == 1).all()
    assert (shown(config.model_copy(update={"binarise": "threshold"}), images, rng(400)) == 1).all()
    assert torch.equal(shown(make().config, images, rng(400)), images)


def test_the_middle_is_a_picture():
    said = torch.tensor([2.0, -9.0]).reshape(1, 2, 1, 1).expand(1, 2, 8, 8)
    assert (middle(make().config, said) == 1).all()
    assert (middle(make(likelihood="bernoulli").config, torch.zeros(1, 1, 8, 8)) == 0).all()
