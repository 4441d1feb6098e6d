"""Gaussians are torch's; the ladder's codes are what they say; nets fit what they are asked for."""

import pytest
import torch
from pydantic import ValidationError
from torch.distributions import Categorical, Independent, MixtureSameFamily, kl_divergence
from torch.distributions import Normal as Oracle

from makar.nets.gaussians import NARROWEST, WIDEST, Normal, split, standard
from makar.nets.vae_config import ConvVaeConfig, LadderVaeConfig
from makar.nets.vae_ladder import LadderVae
from makar.nets.vae_prior import Mixture


def oracle(normal):
    return Oracle(normal.mean, (normal.log_variance / 2).exp())


def test_gaussians_are_torchs():
    torch.manual_seed(0)
    one, other, z = Normal(*torch.randn(2, 5, 4)), Normal(*torch.randn(2, 5, 4)), torch.randn(5, 4)
    assert torch.allclose(one.log_prob(z), oracle(one).log_prob(z), atol=1e-5)
    assert torch.allclose(one.divergence(other), kl_divergence(oracle(one), oracle(other)), atol=1e-4)
    assert (one.divergence(other) >= 0).all()
    assert (one.divergence(one) == 0).all()
    assert torch.allclose(one.noise_at(one.at(z)), z, atol=1e-5)
    assert torch.allclose(standard(z).log_prob(z), Oracle(0.0, 1.0).log_prob(z))


def test_no_variance_is_beyond_bounds():
    said = torch.tensor([[0.0, 0.0, 99.0, -99.0]])
    assert split(said.bfloat16()).log_variance.tolist() == [[WIDEST, NARROWEST]]


def test_a_mixture_is_torchs():
    torch.manual_seed(0)
    mixture, z = Mixture(7, 3), torch.randn(9, 3)
    with torch.no_grad():
        mixture.logits.normal_()
        mixture.log_variance.normal_()
    parts = Independent(Oracle(mixture.mean, (mixture.log_variance / 2).exp()), 1)
    wanted = MixtureSameFamily(Categorical(logits=mixture.logits), parts).log_prob(z)
    assert torch.allclose(mixture.log_prob(z), wanted, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(mixture.log_prob(z), wanted, atol=1e-4)


def ladder(scale=0.2, **more):
    torch.manual_seed(0)
    shape = {"sample_size": 8, "block_out_channels": (4, 6), "latent_channels": (1, 2), **more}
    net = LadderVae(LadderVaeConfig(**shape), outputs=1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return net


def test_a_ladder_never_gains_by_a_code():
    net, images = ladder(scale=0.5), torch.randn(6, 1, 8, 8)
    found = net.infer(net.see(images), torch.randn(6, net.code_size))
    assert found.divergence.shape == (6, 2)
    assert (found.divergence >= 0).all()


@torch.no_grad()
def test_a_ladders_divergence_is_the_mean_of_its_log_ratio():
    net, image = ladder(), torch.randn(1, 1, 8, 8)
    seen = tuple(part.expand(20_000, -1, -1, -1) for part in net.see(image))
    found = net.infer(seen, torch.randn(20_000, net.code_size))
    assert float(found.log_ratio.mean()) == pytest.approx(float(found.divergence.sum(1).mean()), rel=0.02)


@torch.no_grad()
def test_a_ladders_code_means_the_picture_that_it_was_drawn_with():
    net, images = ladder(), torch.randn(3, 1, 8, 8)
    assert net.code_size == 1 * 16 + 2 * 4
    noise = torch.randn(3, net.code_size)
    found = net.infer(net.see(images), noise)
    assert torch.allclose(net.decode(found.code), found.said, atol=1e-4)
    middle = net.infer(net.see(images), torch.zeros_like(noise))
    assert torch.allclose(net.code_of(net.see(images)), middle.code, atol=1e-5)
    assert torch.equal(net.draw(noise, torch.rand(3)), noise)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ConvVaeConfig(sample_size=30, block_out_channels=(8, 8)), "multiple of 4"),
        (
            lambda: LadderVaeConfig(sample_size=12, block_out_channels=(8, 8, 8), latent_channels=(1, 1, 1)),
            "multiple of 8",
        ),
        (lambda: LadderVaeConfig(latent_channels=(1,)), "give 2 latent_channels"),
        (lambda: LadderVaeConfig(latent_channels=(1, 0)), "greater than 0"),
    ],
)
def test_shapes_that_cannot_be_say_what_to_set(make, said):
    with pytest.raises(ValidationError, match=said):
        make()
