"""What the tests start in processes of their own: killed, or under torchrun."""

import json
import sys
from pathlib import Path

import torch
import torch._dynamo  # optimizers import it at their first use, for seconds: better once than in every process

from makar.core.errors import UserError
from makar.core.files import lock
from tests.contract.support import CASES, fresh, settings, train
from tests.train.test_loop import Counted

KILLED = {
    "adamw": {},
    "muon": {"optimizer": {"name": "muon", "learning_rate": 3e-3}},
    "source": {},
}
"""Runs that are killed: a checkpoint every five steps, so that a good part of the kills falls into a write."""


def killed(folder: Path, kind: str, steps: int):
    """One run, started or resumed."""
    config = settings(steps, ema_halflife=8, checkpoint_steps=5, **KILLED[kind])
    with lock(folder):
        if kind == "source":
            return train("toy-vae", "elbo", folder, config, source=Counted())
        return train("language", "next_token", folder, config)


def parallel(folder: Path) -> None:
    """Every family for a few steps, on as many processes as torchrun started; the last model of each is kept."""
    for name, objective in CASES:
        place = folder / f"{name}-{objective}"
        optimizer = {"name": "muon", "learning_rate": 1e-2} if name == "language" else {"learning_rate": 1e-2}
        config = settings(6, batch_size=15, micro_batch_size=4, ema_halflife=4, optimizer=optimizer)
        train(name, objective, place, config, model=fresh(name), identity={"name": name})


def run_killed(folder: Path, kind: str, steps: int) -> None:
    """`killed` in a process of its own; what it logged is left in `done.json`, or why it refused in `refused`."""
    torch.set_num_threads(1)
    try:
        _, lines = killed(folder, kind, steps)
        (folder / "done.json").write_text(json.dumps([line["loss_hex"] for line in lines]))
    except UserError as fault:
        (folder / "refused").write_text(str(fault))
        sys.exit(fault.exit_code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parallel(Path(sys.argv[1]))
