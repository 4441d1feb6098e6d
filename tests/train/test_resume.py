"""kill -9 at any moment, then the same command: every loss and every weight equal an undisturbed run's, to the bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from makar.core.errors import RunError
from makar.core.files import lock, read_json
from makar.train.checkpoint import newest
from tests.train.worker import killed

ROOT = Path(__file__).parents[2]


def start(folder, kind):
    return subprocess.Popen([sys.executable, "-m", "tests.train.worker", str(folder), kind], cwd=ROOT)


def steps_logged(folder) -> int:
    file = folder / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def kill_after(process, folder, lines: int, pause: float) -> bool:
    """Kill -9 some time after so many more lines of metrics were written; whether it was in time."""
    goal = steps_logged(folder) + lines
    while steps_logged(folder) < goal and process.poll() is None:
        time.sleep(0.001)
    time.sleep(pause)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


def disturb(tmp_path, kind, kills, seed):
    """Kill a run so many times and finish it; compare with one that nobody disturbed."""
    _, lines = killed(tmp_path / "whole", kind)
    chance, folder, in_time, halves = random.Random(seed), tmp_path / "killed", 0, 0
    for _ in range(kills):
        lines, pause = chance.randrange(1, max(2, 50 // kills)), 0.02 * chance.random()
        in_time += kill_after(start(folder, kind), folder, lines, pause)
        halves += any(folder.glob("checkpoints/.step-*"))
    assert in_time, "no kill was in time"
    assert start(folder, kind).wait() == 0
    assert read_json(folder / "done.json") == [line["loss_hex"] for line in lines]
    wanted, found = (newest(tmp_path / which / "checkpoints", print) for which in ("whole", "killed"))
    assert wanted.step == found.step == 60
    assert wanted.tensors.keys() == found.tensors.keys()
    assert any(name.startswith("average/") for name in found.tensors)
    for name, tensor in wanted.tensors.items():
        assert torch.equal(tensor, found.tensors[name]), name
    return in_time, halves


@pytest.mark.parametrize("kind", ["muon", "source"])
def test_three_kills(tmp_path, kind):
    in_time, _ = disturb(tmp_path, kind, kills=3 if kind == "muon" else 1, seed=1)
    assert in_time


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adamw", "muon", "source"])
def test_twenty_kills(tmp_path, kind):
    in_time, halves = disturb(tmp_path, kind, kills=20, seed=2)
    print(f"{in_time} of 20 kills in time, {halves} in the middle of a checkpoint")


def test_a_second_process_is_refused(tmp_path):
    with lock(tmp_path):
        process = subprocess.run(
            [sys.executable, "-m", "tests.train.worker", str(tmp_path), "source"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert process.returncode == 1
    assert "another process is working in this folder" in process.stderr
    assert f"process {os.getpid()}" in process.stderr
    with lock(tmp_path):
        pass  # free again
    with pytest.raises(RunError), lock(tmp_path), lock(tmp_path):
        pass
