"""Whole training steps, ours and a peer's: what takes one, and how long each takes when all take turns."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from makar.core.device import Precision
from makar.core.nouns import Batch, Family, Model, Objective
from makar.train.blocks import compile_blocks
from makar.train.config import Constant, Optimizer, TrainConfig
from makar.train.distributed import join
from makar.train.optim import make_player
from makar.train.step import Setting, train_step

Step = Callable[[], object]
"""Takes one step, and waits until it is done."""

WAYS = ("makar", "makar_eager", "peer_fp32", "peer_bf16", "peer_bf16_compiled")
"""Ours as it runs and without its compiled blocks; a peer as its users run it, and in bfloat16."""


PROCESS = Path("/proc/self")
"""What Linux says of this process."""


def manner(way: str, probed: Precision) -> tuple[bool, Precision, bool]:
    """Whether a way is ours, its precision, and whether it is compiled.

    Args:
        way: One of `WAYS`.
        probed: The precision that the probe of this machine chose, which ours takes.
    """
    mine = way.startswith("makar")
    return mine, probed if mine else "fp32" if "fp32" in way else "bf16", way in ("makar", "peer_bf16_compiled")


def in_turn(title: str, ways: Mapping[str, Step], repeats: int) -> dict[str, float]:
    """Median seconds of a step of each way.

    Args:
        title: For the lines on stderr.
        ways: By name.
        repeats: Turns that every way takes; each is at least one step and half a second.
    """
    counts: dict[str, int] = {}
    for name, way in ways.items():
        began = time.perf_counter()
        way()
        way()  # the first compiles forward and backward, the second finds the optimizer's state
        print(f"{title}: {name} ready after {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        began = time.perf_counter()
        way()
        counts[name] = max(1, round(0.5 / (time.perf_counter() - began)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            for _ in range(counts[name]):
                way()
            times[name].append((time.perf_counter() - began) / counts[name])
    return {name: statistics.median(each) for name, each in times.items()}


def beside(title: str, ways: Mapping[str, Step], rows: int, repeats: int) -> dict[str, Any]:
    """Rows a second of each way, and the first way's over the others'.

    Args:
        title: For the lines on stderr.
        ways: By name, ours first.
        rows: Of a step.
        repeats: Turns that every way takes.
    """
    speeds = {way: rows / seconds for way, seconds in in_turn(title, ways, repeats).items()}
    first = next(iter(speeds))
    return {
        "rows_per_second": {way: round(speed, 1) for way, speed in speeds.items()},
        "ratios": {way: round(speeds[first] / speed, 2) for way, speed in speeds.items() if way != first},
    }


def peaks(make: Callable[[str], Step], ways: Sequence[str]) -> dict[str, int]:
    """MiB that two steps of each way take beyond what is there before it is made, each in a process of its own.

    Args:
        make: From a way to its step; a function of a module, or a partial of one.
        ways: Their names.

    Returns:
        By way; nothing where no Linux says it.
    """
    if not PROCESS.is_dir():
        return {}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        return dict(zip(ways, processes.map(partial(peak, make), ways), strict=True))


def peak(make: Callable[[str], Step], way: str) -> int:
    """MiB that two steps take at most beyond what this process held before."""
    (PROCESS / "clear_refs").write_text("5")  # the highest is from now on: importing took more than is held
    before = highest()
    step = make(way)
    step()
    step()  # the first makes the optimizer's state
    return (highest() - before) >> 10


def highest() -> int:
    """KiB of memory that this process held at most."""
    lines = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def parameters(net: nn.Module) -> int:
    """Numbers that a net consists of."""
    return sum(each.numel() for each in net.parameters())


def fresh(family: Family[Any], config: Any) -> Model[Any]:
    """A model with the random weights of seed 0."""
    torch.manual_seed(0)
    return Model(family, config, family.build(config).train())


def ours(
    model: Model[Any],
    objective: Objective[Any],
    rows: Batch,
    precision: Precision,
    *,
    compiled: bool,
    rate: float = 1e-3,
) -> Callable[[], float]:
    """A step of the trainer, as `makar train` takes it.

    Args:
        model: With weights of its own.
        objective: What is minimised.
        rows: The same for every step.
        precision: Of the net's products.
        compiled: Whether its blocks are.
        rate: Of AdamW.

    Returns:
        What takes one step and says its mean loss.
    """
    size, numbers = len(next(iter(rows.values()))), count()
    step = trainer(model, objective, size, precision, compiled=compiled, rate=rate)
    return lambda: step(rows, next(numbers))


def trainer(
    model: Model[Any], objective: Objective[Any], size: int, precision: Precision, *, compiled: bool, rate: float
) -> Callable[[Batch, int], float]:
    """What takes a step of a model: from so many rows and the step's number to the mean loss."""
    blocks = model.family.blocks(model.net)
    compile_blocks(blocks, on=compiled)
    train = TrainConfig(
        steps=10**6, batch_size=size, optimizer=Optimizer(learning_rate=rate), schedule=Constant(warmup=0.0)
    )
    players = [make_player(model.net, path, blocks, train.optimizer, torch.float32) for path in objective.players]
    setting = Setting(model, objective, players, train, 0, join(), precision)

    def step(rows: Batch, number: int) -> float:
        _, (loss, targets, *_) = train_step(setting, rows, number, [])
        return (loss / targets).item()  # waits

    return step


def theirs(
    net: nn.Module,
    loss_of: Callable[[Any], Tensor],
    precision: Precision,
    *,
    compiled: bool = False,
    rate: float = 1e-3,
) -> Callable[[], float]:
    """A step of a peer in the loop that its users write: autocast, backward, clipping, AdamW.

    Args:
        net: With weights of its own.
        loss_of: From the net, compiled or not, to the loss of its rows.
        precision: "bf16" for autocast.
        compiled: Whether the whole net is.
        rate: Of AdamW.

    Returns:
        What takes one step and says its loss.
    """
    trained = [each for each in net.train().parameters() if each.requires_grad]
    forward = torch.compile(net) if compiled else net
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.1, betas=(0.9, 0.95))

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(forward)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step
