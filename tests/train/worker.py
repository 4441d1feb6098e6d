"""What the tests start in processes of their own: killed, or under torchrun."""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
import torch._dynamo  # optimizers import it at their first use, for seconds: better once than in every process

from makar.core.errors import UserError
from makar.core.files import lock
from makar.core.nouns import Model
from makar.core.random import Rng
from makar.data.table import TensorSource
from makar.families.language.config import LanguageConfig
from makar.nets.lora import attach, train_only
from makar.nets.lora_config import LoraConfig
from makar.train import session
from makar.train.config import TrainConfig
from makar.train.loop import fit
from tests.contract.support import ALL, CASES, Killed, equal_weights, fresh, killer, looker, losses, settings, train
from tests.contract.toys import TOYS
from tests.train.test_loop import Counted, Spoiled

KILLED = {
    "adamw": {},
    "muon": {"optimizer": {"name": "muon", "learning_rate": 3e-3}},
    "source": {},
    "adapter": {},
}
"""Runs that are killed: a checkpoint every five steps, so that a good part of the kills falls into a write."""

PICTURES = ("vae", "autoencoder", "diffusion", "gan")
"""Families of pictures that are killed likewise."""

EXACT = {"exact-adamw": {"learning_rate": 1e-3}, "exact-muon": {"name": "muon", "learning_rate": 1e-3}}
"""Runs whose rows two processes cut as one does, so that sums differ by their order alone; optimizers as they come."""


def killed(folder: Path, kind: str, steps: int):
    """One run, started or resumed."""
    config = settings(steps, ema_halflife=8, checkpoint_steps=5, **KILLED.get(kind, {}))
    with lock(folder):
        if kind in PICTURES:
            return train(kind, next(iter(ALL[kind].objectives)), folder, config)
        if kind == "source":
            return train("toy-vae", "elbo", folder, config, source=Counted())
        model = fresh("language")
        if kind == "adapter":
            attach(model.net, model.family.blocks(model.net), LoraConfig(rank=2, dropout=0.1))
            train_only(model.net, "default")
        return train("language", "next_token", folder, config, model=model)


def parallel(folder: Path) -> None:
    """Every family for a few steps, then one with a fault, a history and an early stop, on what torchrun started."""
    for name, objective in CASES:
        place = folder / f"{name}-{objective}"
        optimizer = {"learning_rate": 1e-2, "epsilon": 1e-3}  # a gradient that is rounding and nothing else stays small
        if name == "language":
            optimizer = {"name": "muon", "learning_rate": 1e-2}
        config = settings(6, batch_size=15, micro_batch_size=4, ema_halflife=4, optimizer=optimizer)
        train(name, objective, place, config, model=fresh(name), identity={"name": name})
    for name, optimizer in EXACT.items():
        config = settings(6, batch_size=16, micro_batch_size=4, ema_halflife=4, optimizer=optimizer)
        train("language", "next_token", folder / name, config, model=fresh("language"), identity={"name": name})
    spoiled, words = Spoiled(TOYS["toy-vae"].objectives["elbo"](), {3}), looker(score=lambda step: abs(step - 5.0))
    config = settings(40, checkpoint_steps=2, patience=4, checkpoint_seconds=1e-9)
    fit(fresh("toy-vae"), Counted(), spoiled, config, seed=0, folder=folder / "faults", watches=[words])


def long(folder: Path) -> None:
    """A run that only a signal ends."""
    train("toy-vae", "elbo", folder, settings(10**6, checkpoint_steps=10**6, checkpoint_seconds=1e9))


def run_killed(folder: Path, kind: str, steps: int) -> None:
    """`killed` in a process of its own; what it logged is left in `done.json`, or why it refused in `refused`."""
    torch.set_num_threads(1)
    try:
        _, lines = killed(folder, kind, steps)
        (folder / "done.json").write_text(json.dumps(losses(lines)))
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


def run_failing(folder: Path, wish: str) -> None:
    """A run whose C++ compiler fails; what it says is left in `said`."""
    from torch._inductor import config

    torch.set_num_threads(1)
    config.cpp.cxx, config.force_disable_caches = (None, "false"), True
    session.worth_compiling = lambda blocks, seconds, left: True
    said: list[str] = []
    try:
        train("language", "next_token", folder, settings(8, compile=wish), say=said.append)
    except UserError as fault:
        said.append(str(fault))
    (folder / "said").write_text("\n".join(said))


def run_overhead(folder: Path) -> None:
    """Median CPU milliseconds a step, 1M parameters and 2,048 tokens: by hand, and by `fit`, in turn."""
    torch.set_num_threads(1)
    found, rows = ALL["language"], TensorSource({"tokens": torch.randint(1024, (512, 257))}, 0)
    config = LanguageConfig(vocab_size=1024, hidden_size=128, num_hidden_layers=4, max_position_embeddings=256)
    objective, times = found.objectives["next_token"](), {"bare": [], "adamw": [], "muon": [], "average": []}

    def bare(steps):
        model = Model(found, config, found.build(config))
        optimizer = torch.optim.AdamW(model.net.parameters(), fused=True)
        for step in range(steps):
            start = time.process_time()
            loss = objective(model, rows.batch(step, 8), "", Rng(0, step, torch.arange(8)))
            (loss.sum / loss.count).backward()
            torch.nn.utils.clip_grad_norm_(model.net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            yield time.process_time() - start

    def fitted(steps, place, **more):
        clock: list[float] = []
        train = TrainConfig(steps=steps, batch_size=8, compile="off", **more)
        model = Model(found, config, found.build(config))
        fit(model, rows, objective, train, seed=0, folder=place, progress=lambda _: clock.append(time.process_time()))
        return [after - before for before, after in pairwise(clock)]

    for turn in range(4):
        times["bare"] += list(bare(12))[1:]
        for name, more in {
            "adamw": {},
            "muon": {"optimizer": {"name": "muon"}},
            "average": {"ema_halflife": 9},
        }.items():
            times[name] += fitted(14, folder / f"{name}{turn}", **more)[1:-1]
    medians = {name: round(1000 * median(values), 1) for name, values in times.items()}
    (folder / "overhead.json").write_text(json.dumps(medians))


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"parallel": parallel, "long": long}[sys.argv[2]](Path(sys.argv[1]))
