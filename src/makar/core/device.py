"""What this machine is and how fast: measured once in about a second, stored, and obeyed after."""

import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from makar.core.cgroup import allowances
from makar.core.errors import UserError
from makar.core.files import read_json, write_json

Precision = Literal["fp32", "bf16"]

WORTH = 1.1  # below this gain bf16 is not worth its rounding
ROUNDS = 5  # turns at the least: one alone may have met another program
SHAPES = {"cpu": ((2048, 256, 1024), (2048, 512, 2048), (1024, 1024, 1024)), "cuda": ((8192, 2048, 8192), (8192,) * 3)}


@dataclass(frozen=True)
class Machine:
    """One machine as training sees it.

    Args:
        device: "cpu", "cuda" or "mps".
        processor: Its name, as the system gives it.
        threads: That one process computes with.
        memory: Bytes, of the device; a container's limit counts.
        torch: Version.
        fp32: Best matrix product, FLOP/s.
        bf16: Best matrix product, FLOP/s.
        bf16_gain: How many times faster a training step of a small perceptron is under bf16 autocast.
    """

    device: str
    processor: str
    threads: int
    memory: int
    torch: str
    fp32: float
    bf16: float
    bf16_gain: float

    @property
    def precision(self) -> Precision:
        """The faster one; fp32 in doubt."""
        return "bf16" if self.bf16_gain >= WORTH else "fp32"

    def peak(self, precision: Precision) -> float:
        """Best FLOP/s in a precision."""
        return self.bf16 if precision == "bf16" else self.fp32


def probe(folder: Path) -> Machine:
    """This machine, from the folder's `machine.json` where it was measured before, else measured now and stored there.

    Args:
        folder: The run folder, or a cache. What it holds of another machine or torch version is measured again.
    """
    file = folder / "machine.json"
    with suppress(UserError, TypeError, AttributeError):  # missing, damaged, of an older makar: measure
        stored = Machine(**read_json(file))
        if (stored.device, stored.processor, stored.threads, stored.torch) == identity():
            return stored
    folder.mkdir(parents=True, exist_ok=True)
    machine = measure()
    write_json(file, asdict(machine))
    return machine


def identity() -> tuple[str, str, int, str]:
    """What a measurement holds for: device, processor, threads, torch version."""
    device = best_device()
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return device, name, torch.get_num_threads(), torch.__version__


def best_device() -> str:
    """The accelerator if there is one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def processor() -> str:
    """The processor's name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory(device: str) -> int:
    """Bytes that the device has for us; of the host, the tightest limit of the containers that we are in."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *(each.limit for each in allowances())])


def memory_available(device: str) -> int:
    """Bytes that could be had now: of the host, what the system can free of its caches counts."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    free = [memory(device), *(each.free for each in allowances())]
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free.append(1024 * int(line.split()[1]))
    return min(free)


def measure() -> Machine:
    """Time matrix products and a small training step."""
    device, name, threads, version = identity()
    shapes = SHAPES.get(device, SHAPES["cpu"])
    fp32, bf16 = product_speeds(device, shapes)
    plain, rounded = fastest([step(device, bf16=False), step(device, bf16=True)], device, seconds=0.4)
    return Machine(device, name, threads, memory(device), version, fp32, bf16, plain / rounded)


def product_speeds(device: str, shapes: Sequence[tuple[int, ...]]) -> tuple[float, float]:
    """FLOP/s of matrix products in fp32 and bf16, each of the shape that it does best.

    Args:
        device: Where they run.
        shapes: Rows, inner, columns.
    """
    best = [0.0, 0.0]
    for shape in shapes:
        times = fastest([product(device, kind, shape) for kind in (torch.float32, torch.bfloat16)], device)
        best = [max(speed, 2 * math.prod(shape) / seconds) for speed, seconds in zip(best, times, strict=True)]
    return best[0], best[1]


def product(device: str, kind: torch.dtype, shape: tuple[int, ...]) -> Callable[[], object]:
    """One matrix product, of rows x inner x columns."""
    rows, inner, columns = shape
    left, right = (torch.ones(size, device=device, dtype=kind) for size in ((rows, inner), (inner, columns)))
    return lambda: left @ right


def step(device: str, *, bf16: bool) -> Callable[[], object]:
    """Forward and backward of a two-layer perceptron over 2,048 rows, weights in fp32."""
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256)).to(device)
    rows = torch.ones(2048, 256, device=device)

    def work() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = net(rows).float().square().sum()
        loss.backward()
        net.zero_grad()

    return work


def fastest(works: Sequence[Callable[[], object]], device: str, seconds: float = 0.2) -> list[float]:
    """Seconds of the fastest call of each; they take turns, so that what else the machine does slows them alike.

    Args:
        works: What to time.
        device: Where it runs.
        seconds: To spend on all of them; at least `ROUNDS` turns, and one before that warms up.
    """
    wait = torch.cuda.synchronize if device == "cuda" else torch.mps.synchronize if device == "mps" else lambda: None
    times: list[list[float]] = [[] for _ in works]
    for turn in range(sys.maxsize):
        for work, found in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            wait()
            if turn:
                found.append(time.perf_counter() - start)
        if turn >= ROUNDS and sum(map(sum, times)) >= seconds:
            break
    return [min(found) for found in times]
