"""The benchmark of pictures in small: every way takes steps, and loading and memory are measured."""

from functools import partial

import pytest
import torch

from benchmarks import pictures, steps
from makar.nets.autoencoder_config import AutoencoderNetConfig
from makar.nets.image_config import DiTConfig

TINY = {"DiT": DiTConfig(sample_size=8, in_channels=1, num_layers=1, num_attention_heads=2, attention_head_dim=8,
                         num_classes=10)}  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch):
    small = AutoencoderNetConfig(sample_size=8, block_out_channels=(8, 8), mid_block_add_attention=False)
    monkeypatch.setattr(pictures, "ROWS", 4)
    monkeypatch.setattr(pictures, "NETS", TINY)
    monkeypatch.setattr(pictures, "SQUEEZED", small.model_copy(update={"norm_num_groups": 4}))
    monkeypatch.setattr(pictures, "STORED", 8)
    monkeypatch.setattr(pictures, "LOADED", 3)


@pytest.mark.parametrize("name", ["DiT", pictures.SQUEEZER])
@pytest.mark.parametrize("way", ["makar_eager", "peer_fp32", "peer_bf16"])
def test_every_way_takes_steps(name, way):
    step = pictures.way_of(name, "fp32", way)
    step()
    assert step() < 10


@pytest.mark.parametrize("channels", [1, 3])
def test_loading_is_measured(channels):
    assert 0 < pictures.loading(channels, 8) < 1


def grows(way):
    """Takes as many MiB as it is called."""
    return lambda: torch.ones(int(way) << 18).sum()


@pytest.mark.slow
def test_memory_is_measured_in_a_process_each():
    found = steps.peaks(partial(grows), ["256", "64"])
    assert 250 <= found["256"] < 400
    assert 60 <= found["64"] < 200
