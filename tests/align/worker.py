"""A short run with rollouts, in a process that may be killed."""

import sys
from pathlib import Path

import torch

from makar.align.config import RolloutConfig
from makar.align.policy import grpo
from makar.align.rollouts import Rollouts, by_group
from makar.recipes.assemble import Job
from makar.recipes.execute import execute
from makar.recipes.run import Run
from makar.train.config import TrainConfig
from makar.train.distributed import join
from tests.align.support import asked, codec, frozen, rewarded, writer


def trained(folder: Path):
    """Train, or go on; checkpoints fall between the uses of a rollout."""
    torch.set_num_threads(1)
    model = writer()
    config = RolloutConfig(group=3, max_tokens=5, batches=2, epochs=2)
    source = Rollouts(
        model,
        asked("1+2=", "4+5=", "6+7=1", "8"),
        [rewarded(lambda case: float(any(c.isdigit() for c in case.answer)))],
        config,
        by_group(),
        seed=3,
        end_id=codec().end_id,
        reference=frozen(model),
        world=join(),
        journal=folder / "run" / "metrics.jsonl",
    )
    train = TrainConfig(
        steps=14, batch_size=6, micro_batch_size=4, compile="off", checkpoint_steps=3, precision="fp32",
        optimizer={"learning_rate": 0.01},
    )  # fmt: skip
    return execute(Job(model, source, grpo(kl_weight=0.02), train, seed=3, length=16), Run(folder / "run"))


def run_killed(folder: Path) -> None:
    """`trained`, in a process of its own."""
    trained(folder)


if __name__ == "__main__":
    trained(Path(sys.argv[1]))
