"""Variety in random features: known spreads, and what it does not depend on."""

import torch

from makar.measure.collapse import random_features, spread

X = torch.rand(24, 1, 12, 12) * 2 - 1
ALL = torch.zeros(24, dtype=torch.int64)


def test_features_are_always_the_same_and_tell_pictures_apart():
    one, other = random_features(X), random_features(X[3:7])
    assert torch.allclose(one[3:7], other, atol=1e-5)
    assert one.shape == (24, 64 * 16)
    assert float(torch.cdist(one, one).fill_diagonal_(9).min()) > 0.1
    assert random_features(torch.rand(2, 3, 28, 28)).shape == (2, 1024)


def test_spread_is_the_mean_distance_within_classes():
    features, labels = torch.tensor([[0.0, 0.0], [3.0, 4.0], [100.0, 0.0], [100.0, 1.0]]), torch.tensor([0, 0, 1, 1])
    assert spread(features, labels) == 3.0
    assert spread(features[:2], labels[:2]) == 5.0
    assert spread(features, torch.arange(4)) == 0.0


def test_one_picture_a_class_is_a_collapse_however_many_classes_there_are():
    labels = torch.arange(24) % 4
    collapsed = random_features(X[:4].repeat(6, 1, 1, 1))
    assert spread(collapsed, labels) < 1e-2 * spread(random_features(X), labels)
    assert spread(collapsed, ALL) > 0.5 * spread(random_features(X), ALL)
