"""The spine's benchmarks in small: the ways do the same work, and every figure is there."""

import pytest
import torch

from benchmarks import data, generation, steps, training
from makar.families.language.config import LanguageConfig

TINY = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}


def test_ours_and_the_peer_lose_the_same_on_the_same_weights(monkeypatch):
    config, peers = LanguageConfig(**TINY, max_position_embeddings=17), []
    tokens = torch.randint(64, (2, 16), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(steps, "theirs", lambda net, loss_of, *_, **__: peers.append((net, loss_of)))
    training.theirs(config, tokens, "fp32", compiled=False)
    ((net, loss_of),), model = peers, steps.fresh(training.FAMILY, config)
    missing, unexpected = net.load_state_dict(model.net.state_dict(), strict=False)
    assert missing == ["lm_head.weight"]  # tied
    assert not unexpected
    step = steps.ours(model, training.NextToken(), {"tokens": tokens}, "fp32", compiled=False)
    assert step() == pytest.approx(loss_of(net).item(), abs=1e-5)


def test_a_step_that_is_timed_learns_at_its_full_rate():
    """So that curves of a few hundred steps show something: a warm-up over a share of the run would never end."""
    config = LanguageConfig(**TINY, max_position_embeddings=17)
    tokens = torch.randint(64, (2, 17), generator=torch.Generator().manual_seed(0))
    step = steps.trainer(
        steps.fresh(training.FAMILY, config), training.NextToken(), 2, "fp32", compiled=False, rate=1e-2
    )
    losses = [step({"tokens": tokens}, number) for number in range(12)]
    assert losses[-1] < losses[0] - 1


def test_loading_is_measured_for_every_size(monkeypatch):
    monkeypatch.setattr(data, "CHARACTERS", 100_000)
    monkeypatch.setattr(data, "REPEATS", 1)
    found = training.loading(["1M/256", "10M/1024"])
    assert found.keys() == {"1M/256", "10M/1024"}
    assert all(0 < seconds < 1 for seconds in found.values())


def test_encoding_and_loading_have_their_figures(monkeypatch):
    monkeypatch.setattr(data, "CHARACTERS", 50_000)
    monkeypatch.setattr(data, "REPEATS", 1)
    monkeypatch.setattr(data, "SHAPES", ((2, 64),))
    found = data.run()
    assert found["encode"]["ratio"] > 0
    assert found["load"][0]["rows"] == 2


@pytest.mark.slow
def test_generation_has_its_figures(monkeypatch):
    monkeypatch.setattr(generation, "SHAPE", generation.SHAPE | {"num_hidden_layers": 1})
    monkeypatch.setattr(generation, "TOKENS", 8)
    found = generation.run(repeats=1)
    assert set(found["ratios"]) == {
        "batch_1_fp32",
        "batch_1_bf16_compiled",
        "batch_1_bf16_compiled_same_precision",
        "batch_16_fp32",
    }


@pytest.mark.slow
def test_training_has_its_figures(monkeypatch):
    monkeypatch.setattr(training, "SHAPES", {"1M": TINY})
    monkeypatch.setattr(training, "TOKENS", 64)
    monkeypatch.setattr(training, "CURVE_STEPS", 10)
    found = training.run(["1M/32"], repeats=1)
    assert found["sizes"]["1M/32"]["loading_share"] < 1
    assert {"makar", "peer_fp32"} <= found["sizes"]["1M/32"]["tokens_per_second"].keys()
    assert found["loss"]["steps"] == 10
