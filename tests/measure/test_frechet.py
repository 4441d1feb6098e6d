"""The Fréchet distance: what is known of it, and torch-fidelity's numbers."""

import numpy as np
import pytest
import torch
from scipy import linalg

from makar.core.errors import InputError
from makar.measure.frechet import Moments, frechet_between, frechet_distance, moments
from tests.measure.peers import fidelity


def rows(count, dims, seed, spread=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dims, dims, generator=generator)
    return torch.randn(count, dims, generator=generator) @ mix * spread + shift


def test_bells_along_the_axes_have_a_known_distance():
    first = Moments(torch.zeros(2).double(), torch.diag(torch.tensor([1.0, 4.0])).double())
    second = Moments(torch.tensor([3.0, 4.0]).double(), torch.diag(torch.tensor([9.0, 4.0])).double())
    assert frechet_between(first, second) == pytest.approx(25 + (1 - 3) ** 2)


def test_a_set_is_at_no_distance_from_itself_and_the_order_does_not_matter():
    first, second = rows(300, 8, 0), rows(200, 8, 1, 2.0, 1.0)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))
    few = rows(20, 64, 2, 5.0)  # fewer rows than dimensions: most of what is shared is rounding
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-8)


def test_it_is_what_the_definition_says():
    first, second = rows(300, 8, 2), rows(300, 8, 3, 0.5, 1.0)
    a, b = moments(first), moments(second)
    root = linalg.sqrtm((a.covariance @ b.covariance).numpy()).real
    wanted = (a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace() - 2 * np.trace(root)
    assert frechet_between(a, b) == pytest.approx(float(wanted), rel=1e-8)


@pytest.mark.parametrize(("count", "dims"), [(400, 16), (20, 48)])
def test_torch_fidelity_says_the_same(count, dims):
    first, second = rows(count, dims, 4).double(), rows(count + 5, dims, 5, 1.1, 0.3).double()
    theirs = fidelity("metric_fid")
    stats = [theirs.fid_features_to_statistics(each) for each in (first, second)]
    found = theirs.fid_statistics_to_metric(*stats, verbose=False)[theirs.KEY_METRIC_FID]
    assert frechet_distance(first, second) == pytest.approx(found, rel=1e-4)


def test_what_has_no_spread_is_refused():
    with pytest.raises(InputError, match="two pictures"):
        moments(torch.zeros(1, 3))
    with pytest.raises(InputError, match="not finite"):
        moments(torch.tensor([[0.0], [torch.nan]]))


def test_where_eigenvalues_do_not_converge_singular_values_do(monkeypatch):
    features = [torch.randn(40, 6, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    wanted = frechet_distance(*features)

    def fails(matrix):
        raise torch.linalg.LinAlgError("linalg.eigh: The algorithm failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    assert frechet_distance(*features) == pytest.approx(wanted, rel=1e-9)
