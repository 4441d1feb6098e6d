"""The kernel distance: unbiased, and torch-fidelity's number."""

import pytest
import torch

from makar.core.errors import InputError
from makar.measure import kernel
from makar.measure.kernel import kernel_distance, kernel_over_subsets
from tests.measure.peers import fidelity


def rows(count, seed, shift=0.0, dims=6):
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed)) + shift


def test_of_constants_it_is_the_kernel_itself():
    ones, zeros = torch.ones(4, 3), torch.zeros(5, 3)
    assert kernel_distance(ones, zeros) == pytest.approx(2**3 + 1 - 2)


def test_it_is_zero_on_average_for_equals_and_grows_with_the_shift():
    found = torch.tensor([kernel_distance(rows(40, 2 * k), rows(40, 2 * k + 1)) for k in range(200)])
    assert abs(found.mean()) < 3 * found.std() / 200**0.5
    assert (found < 0).any()
    assert kernel_distance(rows(99, 1), rows(99, 2, 0.5)) < kernel_distance(rows(99, 1), rows(99, 2, 1.0))


def test_torch_fidelity_says_the_same():
    first, second = rows(80, 5).double(), rows(80, 6, 0.2).double()
    theirs = fidelity("metric_kid")
    found = theirs.kid_features_to_metric(first, second, kid_subsets=1, kid_subset_size=80, verbose=False)
    ours, spread = kernel_over_subsets(first, second, subsets=1, size=80)
    assert ours == pytest.approx(found[theirs.KEY_METRIC_KID_MEAN], rel=1e-4)
    assert spread == 0
    many = theirs.kid_features_to_metric(first, second, kid_subsets=200, kid_subset_size=40, verbose=False)
    mean, spread = kernel_over_subsets(first, second, subsets=200, size=40)
    assert mean == pytest.approx(many[theirs.KEY_METRIC_KID_MEAN], abs=5 * spread / 200**0.5)
    assert spread == pytest.approx(many[theirs.KEY_METRIC_KID_STD], rel=0.3)


def test_blocks_change_nothing(monkeypatch):
    first, second = rows(50, 7), rows(30, 8, 0.5)
    whole = kernel_distance(first, second)
    monkeypatch.setattr(kernel, "BLOCK", 7)
    assert kernel_distance(first, second) == pytest.approx(whole)


def test_one_row_has_no_spread():
    with pytest.raises(InputError, match="two pictures"):
        kernel_distance(rows(1, 0), rows(9, 1))
