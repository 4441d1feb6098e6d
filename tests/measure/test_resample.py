"""The jackknife against what is known of means and differences."""

import pytest
import torch

from makar.measure.resample import jackknife


def test_the_error_of_a_mean_is_what_theory_says():
    errors = []
    for seed in range(40):
        rows = torch.randn(500, generator=torch.Generator().manual_seed(seed)) * 3
        errors.append(jackknife(lambda some: {"mean": float(some.mean())}, rows)["mean"])
    assert sum(errors) / 40 == pytest.approx(3 / 500**0.5, rel=0.1)


def test_the_errors_of_two_samples_add_up():
    def difference(first, second):
        return {"difference": float(first.mean() - second.mean())}

    errors = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        first, second = torch.randn(300, generator=generator), torch.randn(100, generator=generator) * 2
        errors.append(jackknife(difference, first, second)["difference"])
    assert sum(errors) / 40 == pytest.approx((1 / 300 + 4 / 100) ** 0.5, rel=0.1)


def test_too_few_rows_have_no_error():
    assert jackknife(lambda some: {"n": float(len(some))}, torch.zeros(3)) == {}
