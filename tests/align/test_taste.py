"""What people like: the optimum of a convex loss, found, and what it says of pictures never compared."""

import pytest
import torch
import torch.nn.functional as F

from makar.align.taste import RIDGE, taste_of


def pairs(count=200, dims=5, seed=0):
    """Choices by a hidden direction, as often wrong as the model of choices says."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(2, count, dims, generator=random) * torch.tensor([1, 2, 0.5, 1, 3]) + 4
    direction = torch.tensor([2.0, -0.5, 0, 0, 0.3])
    first = torch.rand(count, generator=random) < torch.sigmoid((features[0] - features[1]) @ direction)
    pick = torch.where(first[:, None], features[0], features[1]), torch.where(first[:, None], features[1], features[0])
    return *pick, direction


def test_it_is_where_the_gradient_vanishes():
    chosen, rejected, direction = pairs()
    liked = taste_of(chosen, rejected)
    origin, steps = liked(torch.zeros(1, 5)), liked(torch.eye(5))
    found = (steps - origin).double()
    spread = torch.cat((chosen, rejected)).double().std(0, correction=0)
    weights = (found * spread).requires_grad_()
    gaps = (chosen - rejected).double() / spread
    loss = F.softplus(-gaps @ weights).sum() + RIDGE / 2 * weights.square().sum()
    (slope,) = torch.autograd.grad(loss, weights)
    assert slope.abs().max() < 1e-3
    assert F.cosine_similarity(found, direction.double(), 0) > 0.95
    assert float(liked(torch.cat((chosen, rejected))).mean()) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("count", "dims", "scale"), [(3, 128, 1.0), (40, 128, 30.0), (500, 2, 0.01), (60, 60, 1e3)])
def test_it_is_found_where_there_are_few_choices_or_many(count, dims, scale):
    random = torch.Generator().manual_seed(1)
    chosen, rejected = scale * torch.randn(2, count, dims, generator=random)
    chosen[:, 0] += scale * 5  # so that one direction tells all of them apart
    liked = taste_of(chosen, rejected)
    spread = torch.cat((chosen, rejected)).double().std(0, correction=0)
    weights = (liked(torch.eye(dims)) - liked(torch.zeros(1, dims))).double() * spread
    gaps = (chosen - rejected).double() / spread
    slope = RIDGE * weights - gaps.T @ torch.sigmoid(-gaps @ weights)
    assert slope.abs().max() < 1e-2 * gaps.abs().sum(0).max()


def test_one_choice_moves_it_little_and_equal_features_nothing():
    chosen, rejected, _ = pairs(1)
    liked = taste_of(chosen, rejected)
    assert 0 < float(liked(chosen) - liked(rejected)) < 10
    same = taste_of(chosen, chosen)
    assert float(same(rejected)) == 0


def test_it_has_a_gradient():
    features = torch.randn(3, 5, requires_grad=True)
    (slope,) = torch.autograd.grad(taste_of(*pairs()[:2])(features).sum(), features)
    assert slope.abs().min() > 0
