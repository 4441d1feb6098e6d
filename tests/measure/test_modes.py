"""Kinds, counted by hand."""

import math

import pytest
import torch

from makar.measure.modes import modes


def test_kinds_are_counted_and_even_ones_do_not_diverge():
    every = torch.cartesian_prod(*[torch.arange(10)] * 3)
    found = modes(every, every, 10)
    assert found.count == 1000
    assert found.divergence == pytest.approx(0.0, abs=1e-9)


def test_one_kind_of_a_thousand_is_as_far_as_it_gets():
    every = torch.cartesian_prod(*[torch.arange(10)] * 3)
    found = modes(torch.tensor([[1, 2, 3]] * 50), every, 10)
    assert (found.count, found.divergence) == (1, pytest.approx(math.log(1000)))
    half = modes(every[every[:, 0] < 5], every, 10)
    assert (half.count, half.divergence) == (500, pytest.approx(math.log(2)))


def test_a_class_that_no_real_row_shows_is_rare_and_not_impossible():
    assert math.isfinite(modes(torch.tensor([[1]]), torch.tensor([[0], [0]]), 2).divergence)
