"""The watch against reward hacking: what it measures, and when it stops."""

import math

import pytest
import torch

from makar.align.config import RolloutConfig
from makar.align.rewards import Case
from makar.align.watch import Look, hacking, look_at
from tests.align.support import asked, frozen, rewarded, writer

torch.set_num_threads(1)
CONFIG = RolloutConfig(group=2, max_tokens=8)
REWARDS = [rewarded(lambda case: float(len(case.answer)), "length", 0.1)]


def test_a_model_is_as_perplexed_as_it_is():
    """A model that finds all 272 tokens equally likely has that perplexity."""
    model = writer()
    torch.nn.init.zeros_(model.net.model.norm.weight)
    found = look_at(model, frozen(model), asked("1+2=", "4"), REWARDS, CONFIG, seed=0)
    assert found.perplexity == pytest.approx(model.config.vocab_size, rel=1e-4)
    assert found.reward == pytest.approx(0.1 * found.rewards["length"])
    other = writer(1)
    again = look_at(model, frozen(other), asked("1+2=", "4"), REWARDS, CONFIG, seed=0)
    assert [case.answer for case in again.cases] == [case.answer for case in found.cases]
    assert again.perplexity != pytest.approx(found.perplexity, rel=1e-4)


def test_an_untouched_model_goes_on(tmp_path):
    model = writer()
    watch = hacking(asked("1+2=", "4"), REWARDS, frozen(model), CONFIG, seed=0, samples=tmp_path / "samples")
    verdict = watch(10, model)
    assert verdict.action == "go"
    assert verdict.score == -verdict.logs["reward"] == -verdict.logs["reward_before"]
    assert verdict.logs["perplexity"] == verdict.logs["perplexity_before"]
    text = (tmp_path / "samples" / "held-out-00000010.txt").read_text()
    assert "1+2=\n→ " in text


def test_a_model_that_degenerates_is_stopped():
    """A model of other weights writes what the first finds unlikely."""
    first, other = writer(), writer(1)
    with torch.no_grad():
        for parameter in first.net.parameters():
            if parameter.ndim > 1:
                parameter *= 6
    watch = hacking(asked("1+2=", "4", "7"), REWARDS, frozen(first), CONFIG, seed=0)
    verdict = watch(5, other)
    assert verdict.action == "stop"
    assert verdict.score is None
    assert "perplexity under the first model rose" in verdict.note


def test_variety_is_compared_over_equally_many_pairs(monkeypatch):
    def look(texts):
        return Look([Case("", text) for text in texts], {"length": 1.0}, 1.0, 10.0, 1.0, 1.0)

    looks = iter([look(["a b c d e f g h"]), look(["a b c d"] * 6), look(["a b c d e f g h a b c d e f g h"])])
    monkeypatch.setattr("makar.align.watch.look_at", lambda *_, seed: next(looks))
    watch = hacking([], REWARDS, writer(), CONFIG, seed=0)
    bad = watch(1, writer())
    assert bad.action == "stop"
    assert "distinct-2 fell from 1.000" in bad.note
    good = watch(2, writer())
    assert good.action == "go"
    assert good.logs["distinct_2"] == 1.0
    assert math.isfinite(good.score)
