"""Neighbours: balls, copies, and the numbers of `prdc` and torch-fidelity."""

from itertools import pairwise

import pytest
import torch

from makar.core.errors import InputError
from makar.measure import neighbours
from makar.measure.neighbours import manifold, nearest, share_nearer
from tests.measure.peers import fidelity


def rows(count, seed, scale=1.0, shift=0.0, dims=5):
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed)).double() * scale + shift


@pytest.mark.parametrize("made", [rows(150, 1), rows(120, 2, 0.3), rows(150, 3, 2.0), rows(150, 4, 1.0, 1.0)])
def test_prdc_and_torch_fidelity_say_the_same(made, capsys):
    prdc = pytest.importorskip("prdc")
    real = rows(150, 0, shift=50.0)
    made = made + 50.0
    ours = manifold(real, made, 4)
    theirs = prdc.compute_prdc(real.numpy(), made.numpy(), 4)
    assert vars(ours) == pytest.approx({name: float(value) for name, value in theirs.items()}, abs=1e-9)
    module = fidelity("metric_prc")
    other = module.prc_features_to_metric(
        made, real, prc_neighborhood=4, prc_batch_size=64, save_cpu_ram=False, verbose=False
    )
    assert (ours.precision, ours.recall) == pytest.approx((other["precision"], other["recall"]), abs=1e-6)


def test_what_each_of_the_four_tells(monkeypatch):
    real = rows(400, 0)
    same, narrow, far = manifold(real, rows(400, 1)), manifold(real, rows(400, 1, 0.1)), manifold(real, real + 100)
    assert same.precision > 0.8
    assert same.recall > 0.8
    assert same.density == pytest.approx(1, abs=0.15)
    assert narrow.precision > same.precision
    assert narrow.recall < 0.1
    assert narrow.coverage < 0.3
    assert vars(far) == dict.fromkeys(("precision", "recall", "density", "coverage"), 0)
    monkeypatch.setattr(neighbours, "BLOCK", 17)
    assert vars(manifold(real, rows(400, 1))) == pytest.approx(vars(same))
    with pytest.raises(InputError, match="fewer pictures than neighbours"):
        manifold(real[:5], real, 5)


def test_a_copy_is_found_wherever_it_lies():
    references = rows(100, 0, shift=30.0, dims=400).float()
    made = torch.stack([references[7], references[93] + 0.001, references[40] + 1])
    cuts = [0, 8, 50, 94, 100]
    for blocks in ([references], [references[a:b] for a, b in pairwise(cuts)]):
        found = nearest(made, blocks)
        assert found.row.tolist() == [7, 93, 40]
        assert found.distance.tolist() == pytest.approx([0, 0.001, 1], rel=1e-3)
    with pytest.raises(InputError, match="nothing to look among"):
        nearest(made, [])


def test_how_often_one_is_nearer_than_another():
    made, real = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0])
    pairs = [1.0 if m < r else 0.5 if m == r else 0.0 for m in made for r in real]
    assert share_nearer(made, real) == pytest.approx(sum(pairs) / 6)
    assert share_nearer(made, made) == pytest.approx(0.5)
    assert share_nearer(made - 9, real) == 1
