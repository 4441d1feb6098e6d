"""Does it work? GRPO takes a tiny model that knows sums, but says them seldom, to one that says them nearly always."""

import pytest
import torch

from makar.align.config import RolloutConfig
from makar.align.policy import grpo
from makar.align.rewards import make_rewards
from makar.align.rollouts import Prompt, Rollouts, by_group
from makar.align.watch import look_at
from makar.data.table import TensorSource
from makar.families.language.objective import NextToken
from makar.train.config import TrainConfig
from makar.train.loop import fit
from makar.train.metrics import read_metrics
from tests.align.support import codec, frozen, writer

torch.set_num_threads(1)
SUMS = [(a, b) for a in range(10) for b in range(10 - a)]
HELD = [(a, b) for a, b in SUMS if (a + 2 * b) % 5 == 1]  # never rewarded: each operand is, beside others
REWARDED = [pair for pair in SUMS if pair not in HELD]


def said(a, b, answer):
    return [*codec().ids(f"{a}+{b}="), *codec().plain_ids([str(answer)])[0], codec().end_id]


def asked(pairs):
    return [Prompt(tuple(codec().ids(f"{a}+{b}=")), f"{a}+{b}=", {"answer": a + b}) for a, b in pairs]


def taught(folder, seed):
    """A model that was shown the right sum in three cases of ten, and some other number otherwise."""
    rng = torch.Generator().manual_seed(seed)
    rows, masks = [], []
    for a, b in SUMS * 60:
        right = float(torch.rand(1, generator=rng)) < 0.3
        rows.append(said(a, b, a + b if right else int(torch.randint(10, (1,), generator=rng))))
        masks.append([False] * (len(rows[-1]) - 2) + [True] * 2)
    model = writer(seed, width=64)
    source = TensorSource({"tokens": torch.tensor(rows), "loss_mask": torch.tensor(masks)}, seed)
    config = TrainConfig(steps=300, batch_size=64, compile="off", optimizer={"name": "muon", "learning_rate": 5e-3})
    fit(model, source, NextToken(), config, seed=seed, folder=folder)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_from_less_than_four_in_ten_to_more_than_95_in_a_hundred(tmp_path, seed):
    model, rewards = taught(tmp_path / "taught", seed), make_rewards({"exact": 1.0})
    config = RolloutConfig(group=8, max_tokens=3)
    reference = frozen(model)
    before, unseen = (
        look_at(model, reference, asked(some) * 4, rewards, config, seed=seed) for some in (REWARDED, HELD)
    )
    assert max(before.reward, unseen.reward) <= 0.45
    source = Rollouts(model, asked(REWARDED), rewards, config, by_group(), seed=seed, end_id=codec().pad_id)
    train = TrainConfig(
        steps=150, batch_size=128, compile="off", schedule={"name": "cosine", "warmup": 0.05},
        optimizer={"name": "muon", "learning_rate": 3e-3, "weight_decay": 0.0},
    )  # fmt: skip
    fit(model, source, grpo(), train, seed=seed, folder=tmp_path / "aligned")
    after, held = (look_at(model, reference, asked(some) * 4, rewards, config, seed=seed) for some in (REWARDED, HELD))
    lines = read_metrics(tmp_path / "aligned" / "metrics.jsonl")
    print(f"seed {seed}: held out {unseen.reward:.3f} to {held.reward:.3f}")
    print(f"seed {seed}: {before.reward:.3f} to {after.reward:.3f} in {sum(x['seconds'] for x in lines):.0f} s")
    assert after.reward >= 0.95
    assert held.reward >= unseen.reward + 0.2, "what was rewarded carries over to sums that never were"
    assert max(line["decoding_gap"] for line in lines) <= 1e-3
    assert lines[-1]["flat_groups"] > lines[0]["flat_groups"]  # what is known has nothing left to teach
