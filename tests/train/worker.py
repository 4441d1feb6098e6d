"""What the tests start in processes of their own: killed, or under torchrun."""

import json
import sys
from pathlib import Path

import torch
import torch._dynamo  # optimizers import it at their first use, for seconds: better once than in every process

from makar.core.errors import UserError
from makar.core.files import lock
from makar.train.loop import fit
from tests.contract.support import CASES, Killed, equal_weights, fresh, killer, looker, losses, settings, train
from tests.contract.toys import TOYS
from tests.train.test_loop import Counted, Spoiled

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
    """Every family for a few steps, then one with a fault, a history and an early stop, on what torchrun started."""
    for name, objective in CASES:
        place = folder / f"{name}-{objective}"
        optimizer = {"name": "muon", "learning_rate": 1e-2} if name == "language" else {"learning_rate": 1e-2}
        config = settings(6, batch_size=15, micro_batch_size=4, ema_halflife=4, optimizer=optimizer)
        train(name, objective, place, config, model=fresh(name), identity={"name": name})
    spoiled, words = Spoiled(TOYS["toy-vae"].objectives["elbo"](), {3}), looker(score=lambda step: abs(step - 5.0))
    config = settings(40, checkpoint_steps=2, patience=4, checkpoint_seconds=1e-9)
    fit(fresh("toy-vae"), Counted(), spoiled, config, seed=0, folder=folder / "faults", watches=[words])


def run_killed(folder: Path, kind: str, steps: int) -> None:
    """`killed` in a process of its own; what it logged is left in `done.json`, or why it refused in `refused`."""
    torch.set_num_threads(1)
    try:
        _, lines = killed(folder, kind, steps)
        (folder / "done.json").write_text(json.dumps([line["loss_hex"] for line in lines]))
    except UserError as fault:
        (folder / "refused").write_text(str(fault))
        sys.exit(fault.exit_code)


def run_compiled(folder: Path) -> None:
    """Compiled blocks against eager ones, and against themselves after a kill."""
    torch.set_num_threads(1)
    config = settings(8, compile="on")
    _, eager = train("language", "next_token", folder / "eager", settings(8))
    model, lines = train("language", "next_token", folder / "whole", config)
    assert losses(lines) != losses(eager), "nothing was compiled"
    assert all(abs(a["loss"] - b["loss"]) < 1e-4 for a, b in zip(lines, eager, strict=True))
    try:
        train("language", "next_token", folder / "killed", config, watches=[killer(6)])
    except Killed:
        again, resumed = train("language", "next_token", folder / "killed", config, model=fresh("language", seed=1))
    assert losses(resumed) == losses(lines)
    assert equal_weights(model, again)
    assert set(again.net.state_dict()) == set(fresh("language").net.state_dict())


if __name__ == "__main__":
    torch.set_num_threads(1)
    parallel(Path(sys.argv[1]))
