"""The bounds are what theory says of them, where the truth is known."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from makar.core.nouns import Model
from makar.families.vae import bound
from makar.families.vae.bound import ImportanceBound, log_bound
from makar.families.vae.family import FAMILY
from makar.families.vae.objective import Elbo, Iwae
from tests.families.vae.conftest import NETS, make, rng

SPREAD = 0.5


def linear_gaussian(off=0.0):
    """A linear decoder with Gaussian noise, its exact posterior as the encoder (moved by `off`), and log p itself."""
    model = make(likelihood="gaussian")
    torch.manual_seed(2)
    weight = torch.linalg.qr(torch.randn(64, 3)).Q * torch.tensor(
        [2.0, 1.0, 0.5]
    )  # orthogonal: the posterior is so too
    middle = torch.randn(64) * 0.1
    precision = 1 + weight.square().sum(0) / SPREAD**2
    decoder, encoder = nn.Linear(3, 64), nn.Linear(64, 6)
    with torch.no_grad():
        decoder.weight.copy_(weight)
        decoder.bias.copy_(middle)
        encoder.weight.copy_(torch.cat((weight.T / SPREAD**2 / precision[:, None], torch.zeros(3, 64))))
        encoder.bias.copy_(torch.cat((-(encoder.weight[:3] @ middle) + off, -precision.log())))
        model.net.log_scale.fill_(math.log(SPREAD))
    model.net.codes.encoder = nn.Sequential(nn.Flatten(), encoder)
    model.net.codes.decoder = nn.Sequential(decoder, nn.Unflatten(1, (1, 8, 8)))
    truth = MultivariateNormal(middle, weight @ weight.T + SPREAD**2 * torch.eye(64))
    return model, truth


@torch.no_grad()
def test_with_the_exact_posterior_every_bound_is_the_log_probability():
    model, truth = linear_gaussian()
    images = truth.sample((6,)).reshape(6, 1, 8, 8)
    exact = truth.log_prob(images.flatten(1))
    for samples in (1, 7, 120):
        assert torch.allclose(log_bound(model, images, rng(6), samples), exact, atol=2e-3)
    many = images[:1].expand(20_000, -1, -1, -1)  # the divergence is exact, and so the ELBO only so on average
    loss = Elbo()(model, {"images": many}, "", rng(20_000))
    assert -float(loss.sum / loss.count) == pytest.approx(float(exact[0]), abs=0.05)


@torch.no_grad()
def test_the_bound_rises_with_its_samples_and_stays_below_the_truth():
    model, truth = linear_gaussian(off=0.2)
    image = truth.sample((1,)).reshape(1, 1, 8, 8)
    images = image.expand(1500, -1, -1, -1)
    means = [float(log_bound(model, images, rng(1500), samples).mean()) for samples in (1, 2, 5, 50)]
    exact = float(truth.log_prob(image.flatten(1)))
    assert means == sorted(means)
    assert means[0] < means[1] - 0.02
    assert means[-1] < exact + 0.02
    assert means[-1] == pytest.approx(exact, abs=0.1)
    elbo, iwae = (objective(model, {"images": images}, "", rng(1500)) for objective in (Elbo(), Iwae(samples=5)))
    assert -float(elbo.sum / elbo.count) == pytest.approx(means[0], abs=0.1)
    assert -float(iwae.sum / iwae.count) == pytest.approx(means[2], abs=0.1)


@pytest.mark.parametrize("net", NETS)
@torch.no_grad()
def test_a_row_has_the_same_bound_in_any_batch_and_any_memory(net, images, monkeypatch):
    model = make(net)
    whole = log_bound(model, images, rng(4), 60)
    monkeypatch.setattr(bound, "VALUES_AT_ONCE", 1)
    assert torch.allclose(log_bound(model, images, rng(4), 60), whole, rtol=1e-5)
    assert torch.allclose(log_bound(model, images[2:3], rng(4).at(torch.tensor([2])), 60), whole[2:3], rtol=1e-5)


def test_a_bound_can_be_climbed(images):
    model = make("ladder")
    values, mask = ImportanceBound(samples=3)(model, {"images": images}, rng(4))
    assert values.shape == mask.shape == (4, 1)
    values.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.net.parameters())


def test_no_samples_are_no_bound(images):
    with pytest.raises(ValueError, match="needs samples"):
        log_bound(make(), images, rng(4), 0)


@torch.no_grad()
def test_a_learned_prior_counts_in_the_bound(images):
    model = make(components=5)
    plain = Model(FAMILY, model.config.model_copy(update={"components": 0}), model.net)
    before = log_bound(plain, images, rng(4), 10)
    prior = model.net.codes.prior
    prior.mean.zero_()
    prior.log_variance.zero_()
    mixture = log_bound(model, images, rng(4), 10)
    model.net.codes.prior = None
    standard = log_bound(model, images, rng(4), 10)
    assert torch.allclose(mixture, standard, atol=1e-2)
    assert not torch.allclose(before, standard, atol=1e-2)
