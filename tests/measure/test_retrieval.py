"""Recall and chance have known answers in small cases."""

import pytest
import torch
from scipy.stats import binom, hypergeom

from makar.measure.retrieval import by_luck, chance, clip_score, ranks


def test_the_rank_is_how_many_wrong_ones_come_first():
    likeness = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    assert ranks(likeness, torch.eye(3, dtype=torch.bool)).tolist() == [0, 1, 2]


def test_any_of_several_right_ones_will_do():
    match = torch.tensor([[True, False, True]])
    assert ranks(torch.tensor([[0.1, 0.5, 0.9]]), match).tolist() == [0]


def test_a_constant_finds_nothing():
    assert ranks(torch.zeros(5, 5), torch.eye(5, dtype=torch.bool)).tolist() == [4] * 5


def test_ranks_of_noise_are_by_chance():
    torch.manual_seed(0)
    match = torch.eye(40, dtype=torch.bool)
    found = torch.cat([ranks(torch.rand(40, 40), match) for _ in range(50)])
    for at in (1, 5):
        assert float((found < at).float().mean()) == pytest.approx(float(chance(match, at)[0]), abs=0.02)


@pytest.mark.parametrize(("right", "at"), [(1, 1), (1, 5), (3, 4), (10, 1), (10, 10), (8, 5)])
def test_chance_is_the_hypergeometric_one(right, at):
    match = (torch.arange(10) < right)[None]
    assert float(chance(match, at)) == pytest.approx(1 - hypergeom.pmf(0, 10, right, at), abs=1e-6)


@pytest.mark.parametrize(("hits", "rows", "share"), [(3, 20, 0.05), (1, 100, 0.001), (90, 100, 0.05), (0, 5, 0.5)])
def test_luck_is_the_binomial_tail(hits, rows, share):
    assert by_luck(hits, rows, share) == pytest.approx(binom.sf(hits - 1, rows, share), rel=1e-6)


def test_luck_at_the_ends():
    assert by_luck(1, 10, 0.0) == 0
    assert by_luck(5, 10, 1.0) == 1


def test_what_does_not_fit_scores_nothing():
    assert clip_score(torch.tensor([0.4, -0.2])).tolist() == pytest.approx([1.0, 0.0])
