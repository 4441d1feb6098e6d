"""Where a step of GRPO goes, at about 10 M parameters: making the answers, and learning from them.

A rollout as the trainer makes it (answers, the trainer's own log-probabilities, those of the reference, rewards) and
the step on it, eager float32, random weights. Answers have their full length: for generation the worst case.
"""

import copy
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.generation import PROMPT, made, prompts
from makar.align.policy import grpo
from makar.align.rewards import make_rewards
from makar.align.rollouts import Prompt, RolloutConfig, Rollouts, by_group
from makar.core.nouns import Model
from makar.train.config import Constant, Optimizer, TrainConfig
from makar.train.distributed import World
from makar.train.metrics import read_metrics
from makar.train.optim import make_player
from makar.train.step import Setting, train_step

GROUP, GROUPS, LENGTH = 8, 8, 96


def run(repeats: int = 3) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Steps, after one that does not count.

    Returns:
        Median seconds of a step and of its generation, and the share of the latter.
    """
    model = made()
    with tempfile.TemporaryDirectory() as folder:
        wholes, shares = steps(model, Path(folder) / "metrics.jsonl", repeats)
    return {
        "parameters": sum(p.numel() for p in model.net.parameters()),
        "answers": GROUP * GROUPS,
        "prompt": PROMPT,
        "tokens": LENGTH,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "step_seconds": round(statistics.median(wholes), 3),
        "generation_share": round(statistics.median(shares), 3),
    }


def steps(model: Model[Any], journal: Path, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of whole steps, and the shares of them in which answers are made."""
    asked = [Prompt(tuple(ids), "") for ids in prompts(GROUPS)]
    rewards = make_rewards({"length": {"high": 4, "unit": "characters"}})
    reference = replace(model, net=copy.deepcopy(model.net).requires_grad_(requires_grad=False).eval())
    config = RolloutConfig(group=GROUP, max_tokens=LENGTH)
    rows = GROUP * GROUPS
    source = Rollouts(
        model, asked, rewards, config, by_group(), seed=0, reference=reference, at_once=rows, journal=journal
    )
    train = TrainConfig(steps=repeats + 1, batch_size=rows, optimizer=Optimizer(), schedule=Constant())
    players = [make_player(model.net, "", model.family.blocks(model.net), train.optimizer, torch.float32)]
    setting = Setting(model, grpo(), players, train, 0, World(), "fp32")
    wholes: list[float] = []
    for number in range(repeats + 1):
        start = time.perf_counter()
        train_step(setting, source.batch(number, rows), number, (0.0, 0.0))[1].tolist()
        wholes.append(time.perf_counter() - start)
    made_in = [line["generation_seconds"] for line in read_metrics(journal, "rollout")]
    return wholes[1:], [part / whole for part, whole in zip(made_in[1:], wholes[1:], strict=True)]
