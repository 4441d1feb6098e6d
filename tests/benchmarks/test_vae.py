"""The benchmark of variational autoencoders in small: both ways do the same work, and every figure is there."""

import pytest
import torch

from benchmarks import vae
from makar.core.random import Rng
from makar.families.vae.objective import Elbo
from makar.nets.vae_config import LadderVaeConfig, MlpVaeConfig

TINY = {
    "layers": MlpVaeConfig(sample_size=8, hidden_sizes=(8,), latent_size=3),
    "ladder": LadderVaeConfig(sample_size=8, block_out_channels=(8, 8), latent_channels=(1, 2)),
}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(vae, "ROWS", 4)
    monkeypatch.setattr(vae, "NETS", TINY)


@pytest.mark.parametrize("name", TINY)
def test_both_ways_have_the_same_loss(name):
    model, images, rng = vae.fresh(name), vae.shown(name), Rng(0, 1, torch.arange(4))
    mine = Elbo()(model, {"images": images}, "", rng)
    noise = rng.normal("code", 1, model.net.code_size).flatten(0, 1)
    torch.testing.assert_close(mine.sum / mine.count, vae.bound(model.net, images, noise), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("way", ["makar_eager", "peer_fp32", "peer_bf16"])
def test_every_way_takes_steps(name, way):
    step = vae.way_of(name, "fp32", way)
    first = step()
    assert 0 < step() != first


def test_a_benchmark_has_its_figures(monkeypatch):
    monkeypatch.setattr(vae, "WAYS", ("makar_eager", "peer_fp32"))
    monkeypatch.setattr(vae.steps, "peaks", lambda make, ways: {way: bool(make(way)()) for way in ways})
    found = vae.compare("layers", "fp32", repeats=1)
    assert found["rows_per_second"].keys() == found["peak_mib"].keys() == {"makar_eager", "peer_fp32"}
