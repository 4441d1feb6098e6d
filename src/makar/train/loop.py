"""The one loop: any family, any stage, start or resume."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from makar.core.device import Machine
from makar.core.errors import ResourceError, RunError
from makar.core.nouns import Cost, Model, Objective, Source
from makar.core.say import Say, silent
from makar.train import checkpoint as checkpoints
from makar.train.blocks import compiler_found, prepared
from makar.train.compiling import Compiling
from makar.train.config import TrainConfig
from makar.train.decisions import Decisions
from makar.train.distributed import World, join
from makar.train.ema import averages_of, swap
from makar.train.metrics import Progress
from makar.train.optim import make_player
from makar.train.precision import choose
from makar.train.session import Periodic, Session, net_tensors, put_back, under
from makar.train.signals import heeded
from makar.train.step import Setting


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        step: Completed steps.
        loss: Of the last one in this process; None if it had nothing to do.
        interrupted: Stopped by a signal; the same call goes on.
        ended: Why it ended early, if it did.
        best: Lowest score of the judging watches.
        best_step: Completed steps then; `load_weights` brings that model back.
        decisions: What was measured and decided at the first start.
    """

    step: int
    loss: float | None
    interrupted: bool
    ended: str | None
    best: float | None
    best_step: int | None
    decisions: Mapping[str, Any]


def fit(
    model: Model[Any],
    source: Source,
    objective: Objective[Any],
    config: TrainConfig,
    *,
    seed: int,
    folder: Path,
    watches: Sequence[Periodic] = (),
    identity: Mapping[str, Any] | None = None,
    machine: Machine | None = None,
    cost: Cost | None = None,
    say: Say = silent,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train a model, or go on where a killed run left off: the same call does both, and the end is the same to the bit.

    Args:
        model: Its net is changed in place, and at the end holds the averaged weights where there is an average.
        source: Rows for every step.
        objective: The loss, and who takes turns.
        config: How to train.
        seed: All randomness comes from it.
        folder: The run's; `checkpoints/` and `metrics.jsonl` are written there. The caller holds its lock.
        watches: Look at the model at intervals; may stop the run or send it back.
        identity: What must be equal for a checkpoint to be ours, beside seed and config: hashes of data and tokenizer.
        machine: What `probe` found; None trains in fp32.
        cost: Of a row, for rates.
        say: Takes lines for the reader.
        progress: Takes the state of things after each step.

    Raises:
        RunError: The folder's checkpoints belong to another run, or all are damaged.
        ResourceError: No space or no permission; the last checkpoint stays good.
        Diverged: A fault came back after going back and skipping its batch.
    """
    blocks = model.family.blocks(model.net)
    world = join()
    with heeded() as stop, prepared(blocks, recompute=config.recompute):
        decisions = decide(config, machine, world, folder, say)
        precision = decisions.known["precision"]
        compute = torch.bfloat16 if precision == "bf16" else torch.float32
        players = [make_player(model.net, path, blocks, config.optimizer, compute) for path in objective.players]
        setting = Setting(model, objective, players, config, seed, world, precision)
        averages = averages_of(model.net, config)
        whose = checkpoints.flat({"seed": seed, "train": config.model_dump(mode="json"), **(identity or {})})
        run = Session(
            setting=setting, compiling=Compiling(blocks, config, decisions, say), source=source, folder=folder,
            watches=watches, identity=whose, averages=averages, stop=stop, cost=cost, machine=machine, say=say,
            progress=progress,
        )  # fmt: skip
        run.resume()
        model.net.train()
        while not run.over:
            run.advance()  # one step, unless its batch is to be skipped
            if run.settle() and run.look():  # judge the losses, then the model; a fault takes the run back
                run.save()
        model.net.eval()
        swap(model.net, averages.get("average"))
    past = run.history
    return Outcome(run.step, run.loss, run.interrupted, past.ended, past.best, past.best_step, decisions.known)


def decide(config: TrainConfig, machine: Machine | None, world: World, folder: Path, say: Say) -> Decisions:
    """What is measured and decided once; a resumed run obeys even where it would now choose otherwise."""
    if world.size > config.batch_size:
        raise RunError(
            "more processes than rows in a batch",
            value=world.size,
            fix=f"start at most {config.batch_size} or raise batch_size",
        )
    if config.compile == "on" and not compiler_found():
        raise ResourceError("no C++ compiler for torch.compile", fix="install g++, or set train.compile to 'auto'")
    here: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "processes": world.size,
        "torch": str(torch.__version__),
    }
    decisions = Decisions.recall(folder, world, say)
    if not decisions.known:
        forced = {} if config.compile == "auto" else {"compile_from": 0 if config.compile == "on" else None}
        decisions.note(precision=choose(config.precision, machine), **here, **forced)
    known = decisions.known
    if known["threads"] != here["threads"] and known["threads"] <= (os.cpu_count() or 1):
        torch.set_num_threads(known["threads"])
        here["threads"] = known["threads"]
    for name, now in here.items():
        if known[name] != now:
            say(f"the run began with {name} {known[name]} and goes on with {now}: equal only up to rounding")
    return decisions


def load_weights(model: Model[Any], folder: Path, step: int) -> None:
    """Give a model the weights of a checkpoint: the averaged ones where there is an average.

    Args:
        model: Changed in place.
        folder: The run's.
        step: Say `Outcome.best_step`.
    """
    checkpoint = checkpoints.load(folder / "checkpoints", step)
    put_back(folder, net_tensors(model.net), under("net/", checkpoint.tensors))
    if average := under("average/", checkpoint.tensors):
        put_back(folder, {name: p for name, p in model.net.named_parameters() if p.requires_grad}, average)
