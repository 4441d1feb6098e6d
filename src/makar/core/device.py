"""What this machine is and how fast: measured once in about a second, stored, and obeyed after."""

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from makar.core.errors import UserError
from makar.core.files import read_json, write_json

Precision = Literal["fp32", "bf16"]

WORTH = 1.1  # below this gain bf16 is not worth its rounding
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
    """Bytes that the device has for us; of the host, the container's limit where there is one."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            total = min(total, int(Path(limit).read_text(encoding="utf-8")))
    return total


def memory_available(device: str) -> int:
    """Bytes that could be had now: of the host, what the system can free of its caches counts."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return min(memory(device), 1024 * int(line.split()[1]))
    return memory(device)


def measure() -> Machine:
    """Time matrix products and a small training step."""
    device, name, threads, version = identity()
    shapes = SHAPES.get(device, SHAPES["cpu"])
    fp32 = max(product_speed(device, torch.float32, shape) for shape in shapes)
    bf16 = max(product_speed(device, torch.bfloat16, shape) for shape in shapes)
    gain = step_seconds(device, bf16=False) / step_seconds(device, bf16=True)
    return Machine(device, name, threads, memory(device), version, fp32, bf16, gain)


def product_speed(device: str, dtype: torch.dtype, shape: tuple[int, ...]) -> float:
    """FLOP/s of one matrix product."""
    rows, inner, columns = shape
    left, right = (torch.ones(size, device=device, dtype=dtype) for size in ((rows, inner), (inner, columns)))
    return 2 * rows * inner * columns / fastest(lambda: left @ right, device)


def step_seconds(device: str, *, bf16: bool) -> float:
    """Forward and backward of a two-layer perceptron over 2,048 rows, weights in fp32."""
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256)).to(device)
    rows = torch.ones(2048, 256, device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = net(rows).float().square().sum()
        loss.backward()
        net.zero_grad()

    return fastest(step, device)


def fastest(work: Callable[[], object], device: str, seconds: float = 0.1) -> float:
    """Seconds of the fastest of as many calls as fit into a budget, at least one; another one warms up before."""
    wait = torch.cuda.synchronize if device == "cuda" else torch.mps.synchronize if device == "mps" else lambda: None
    work()
    wait()
    times: list[float] = []
    while not times or sum(times) < seconds:
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return min(times)
