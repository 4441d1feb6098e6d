"""Augmentation: keyed by the row, differentiable, and none at a share of 0."""

import torch

from makar.core.random import Rng
from makar.families.gan.augment import augment, covered, moved, recoloured

X = torch.rand(8, 3, 12, 12) * 2 - 1


def test_no_share_is_no_change():
    assert augment(X, torch.zeros(8), Rng(0, 0, torch.arange(8))) is X


def test_a_rows_change_is_its_own_whatever_the_batch():
    share, rng = torch.full((8,), 0.7), Rng(0, 3, torch.arange(8))
    whole = augment(X, share, rng)
    part = augment(X[2:5], share[2:5], rng.at(torch.arange(2, 5)))
    assert torch.allclose(whole[2:5], part, atol=1e-6)
    assert not torch.allclose(whole, augment(X, share, Rng(0, 4, torch.arange(8))))


def test_about_as_many_rows_change_as_asked():
    rows = 2000
    images, rng = torch.rand(rows, 1, 4, 4), Rng(0, 0, torch.arange(rows))
    changed = (augment(images, torch.full((rows,), 0.1), rng) != images).flatten(1).any(1).float().mean()
    assert abs(float(changed) - (1 - 0.9**6)) < 0.05


def test_each_change_does_what_it_says():
    none, all_ = torch.zeros(8, 3, dtype=torch.bool), torch.ones(8, 3, dtype=torch.bool)
    assert torch.equal(moved(X, none, torch.ones(8, 4)), X)
    right = moved(X, torch.tensor([[True, False, False]]).expand(8, 3), torch.tensor([[2 / 3, 0, 0, 0]]).expand(8, 4))
    assert torch.allclose(right[..., :-1], X[..., 1:], atol=1e-5)  # one place of twelve
    assert not torch.allclose(moved(X, all_, torch.full((8, 4), 0.5)), X)
    brighter = recoloured(X, torch.tensor([[True, False]]).expand(8, 2), torch.ones(8, 2))
    assert torch.allclose(brighter, X + 0.35)
    hidden = covered(X + 5, torch.ones(8, dtype=torch.bool), torch.full((8, 2), 0.5))
    assert float((hidden == 0).float().mean()) == 0.25
    assert torch.equal(covered(X, torch.zeros(8, dtype=torch.bool), torch.zeros(8, 2)), X)


def test_the_generators_gradient_flows_through():
    x = X.clone().requires_grad_()
    augment(x, torch.ones(8), Rng(0, 0, torch.arange(8))).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad.flatten(1).abs().sum(1) > 0).all())
