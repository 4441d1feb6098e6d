"""The probability flow, where the answer is known: a normal distribution and its exact denoiser."""

import math
from itertools import pairwise

import pytest
import torch

from makar.core.random import Rng
from makar.families.diffusion.denoise import over
from makar.families.diffusion.likelihood import bits_per_dim, likelihood, log_density, with_noise
from tests.families.diffusion.conftest import make

SPREAD = torch.tensor([0.2, 0.5, 1.0, 0.05]).reshape(1, 1, 2, 2)
MEAN = 0.3


def exact(x, sigma):
    """What is expected behind noise of a normal distribution with another spread in each place."""
    share = SPREAD**2 / (SPREAD**2 + over(sigma) ** 2)
    return MEAN + share * (x - MEAN)


def pictures(count):
    noise = torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return MEAN + noise * SPREAD


def found(steps, probe=None, least=0.002, most=2e5):
    images = pictures(5)
    probe = torch.ones_like(images) if probe is None else probe
    wanted = torch.distributions.Normal(MEAN, (SPREAD.double() ** 2 + least**2).sqrt()).log_prob(images)
    return log_density(exact, images, (least, most), probe, steps), wanted.flatten(1).sum(1)


def test_it_is_the_exact_log_density_and_converges_at_fourth_order():
    errors = []
    for steps in (16, 32, 64):
        ours, wanted = found(steps)  # the Jacobian has no entries off its diagonal: any probe of signs is exact
        errors.append(float((ours - wanted).abs().max()))
    assert errors[-1] < 1e-3
    for rough, fine in pairwise(errors):
        assert rough / fine > 10


def test_the_guess_of_the_trace_is_unbiased_where_places_are_bound_to_each_other():
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    covariance = turn @ torch.diag(torch.tensor([0.5, 0.05], dtype=torch.float64)) @ turn.T

    def denoise(x, sigma):
        both = torch.linalg.solve(covariance + sigma[0] ** 2 * torch.eye(2, dtype=torch.float64), x.flatten(1).T)
        return (covariance @ both).T.reshape(x.shape)

    images = torch.tensor([0.3, -0.2], dtype=torch.float64).reshape(1, 1, 1, 2).expand(2, 1, 1, 2)
    probe = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64).reshape(2, 1, 1, 2)  # all there are
    normal = torch.distributions.MultivariateNormal(torch.zeros(2).double(), covariance)
    ours = log_density(denoise, images, (0.002, 200.0), probe, 40)
    assert float(ours.mean()) == pytest.approx(float(normal.log_prob(images[0].flatten())), abs=0.01)
    assert abs(float(ours[0] - ours[1])) > 0.1


@pytest.mark.parametrize("path", ["ddpm", "edm", "flow"])
def test_a_row_is_the_same_in_any_batch_and_depends_on_its_label(path):
    model = make(path=path)
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = torch.tensor([0, 1, 2])

    def ask(rows, label=labels):
        return likelihood(model, images[rows], label[rows], Rng(0, 0, rows), steps=2)

    together = ask(torch.arange(3))
    assert together.isfinite().all()
    alone = torch.cat([ask(torch.tensor([k])) for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-2)
    assert not torch.allclose(together, ask(torch.arange(3), labels.flip(0)), atol=1e-3)


def test_bits_of_a_level_are_what_its_width_says():
    uniform = torch.tensor([-4 * math.log(2 * 128 / 127.5)])  # uniform over 256 levels in each of four places
    assert float(bits_per_dim(uniform, 4)) == pytest.approx(8)
    plain = torch.zeros(2, 1, 8, 8)
    noisy = with_noise(plain, Rng(0, 0, torch.arange(2)))
    assert 0.9 / 255 < float(noisy.abs().max()) < 1 / 255
    assert float(noisy.mean()) == pytest.approx(0, abs=1e-3)
