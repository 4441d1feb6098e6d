"""A short run with rollouts, in a process that may be killed."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from makar.align.config import RolloutConfig
from makar.align.policy import grpo, ppo, rloo
from makar.align.rollouts import Penalty, Rollouts, by_group, by_others, by_values
from makar.align.value import attach_value_head, foreseen, saved_without
from makar.nets.lora_config import LoraConfig
from makar.recipes.adapting import adapt
from makar.recipes.assemble import Job
from makar.recipes.execute import execute
from makar.recipes.run import Run
from makar.train.config import TrainConfig
from makar.train.distributed import join
from tests.align.support import asked, codec, frozen, rewarded, writer

KINDS = {
    "grpo": (grpo(kl_weight=0.02), by_group(), {}),
    "rloo": (rloo(), by_others(), {"penalty": Penalty(0.05, 0.5)}),
    "ppo": (ppo(), by_values(), {"penalty": Penalty(0.05, 0.5), "values": foreseen}),
    "adapter": (grpo(kl_weight=0.02), by_group(), {"reference": None}),
}
"""The objective of each, how it estimates advantages, and what else its rollouts have."""


def trained(folder: Path, kind="grpo"):
    """Train, or go on; checkpoints fall between the uses of a rollout."""
    torch.set_num_threads(1)
    objective, estimate, more = KINDS[kind]
    model, base = writer(), None
    more = {"reference": frozen(model)} | more
    if kind == "adapter":
        base = folder / "base"
        base.mkdir(parents=True, exist_ok=True)
        model.family.folder.save(model, base)
        adapt(model.net, model.family.blocks(model.net), LoraConfig(rank=2, dropout=0.2), seed=3)
    if kind == "ppo":
        attach_value_head(model.net)
        policy = replace(model.family.folder, save=saved_without(model.family.folder.save))
        model = replace(model, family=replace(model.family, folder=policy))
    source = Rollouts(
        model,
        asked("1+2=", "4+5=", "6+7=1", "8"),
        [rewarded(lambda case: float(any(c.isdigit() for c in case.answer)))],
        RolloutConfig(group=3, max_tokens=5, batches=2, epochs=2),
        estimate,
        seed=3,
        end_id=codec().end_id,
        world=join(),
        journal=folder / "run" / "metrics.jsonl",
        **more,
    )
    train = TrainConfig(
        steps=14, batch_size=6, micro_batch_size=4, compile="off", checkpoint_steps=3, precision="fp32",
        optimizer={"learning_rate": 0.01},
    )  # fmt: skip
    return execute(Job(model, source, objective, train, seed=3, length=16, base=base), Run(folder / "run"))


def run_killed(folder: Path, kind: str) -> None:
    """`trained`, in a process of its own."""
    trained(folder, kind)


if __name__ == "__main__":
    trained(Path(sys.argv[1]))
