"""kill -9 at any moment, then the same command: every loss and every weight equal an undisturbed run's, to the bit."""

import multiprocessing
import os
import random
import time

import pytest
import torch

from makar.core.errors import RunError
from makar.core.files import lock, read_json
from makar.train.checkpoint import newest
from tests.contract.support import losses
from tests.train.worker import KILLED, PICTURES, killed, run_killed

FORKS = multiprocessing.get_context("forkserver")  # torch is imported once, so that a start takes no time
FORKS.set_forkserver_preload(["tests.train.worker"])


def start(folder, kind, steps):
    process = FORKS.Process(target=run_killed, args=(folder, kind, steps))
    process.start()
    return process


def steps_logged(folder) -> int:
    file = folder / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def kill_after(process, folder, lines: int, pause: float) -> bool:
    """Kill -9 some time after so many more lines of metrics were written; whether it was in time."""
    goal = steps_logged(folder) + lines
    while steps_logged(folder) < goal and process.is_alive():
        time.sleep(0.001)
    time.sleep(pause)
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


def disturb(tmp_path, kind, steps, kills, seed):
    """Kill a run so many times and finish it; compare with one that nobody disturbed."""
    _, lines = killed(tmp_path / "whole", kind, steps)
    chance, folder, in_time, halves = random.Random(seed), tmp_path / "killed", 0, 0
    for _ in range(kills):
        more = chance.randrange(1, max(2, steps // kills))
        pause = 0.2 * chance.random() ** 2 if in_time else 0.0  # the first is in time however fast the steps are
        in_time += kill_after(start(folder, kind, steps), folder, more, pause)
        halves += any(folder.glob("checkpoints/.step-*"))
    assert in_time, "no kill was in time"
    last = start(folder, kind, steps)
    last.join()
    assert last.exitcode == 0
    assert read_json(folder / "done.json") == losses(lines)
    wanted, found = (newest(tmp_path / which / "checkpoints", print) for which in ("whole", "killed"))
    assert wanted.step == found.step == steps
    assert wanted.tensors.keys() == found.tensors.keys()
    assert any(name.startswith("average/") for name in found.tensors)
    for name, tensor in wanted.tensors.items():
        assert torch.equal(tensor, found.tensors[name]), name
    return in_time, halves


@pytest.mark.parametrize("kind", KILLED)
def test_three_kills(tmp_path, kind):
    disturb(tmp_path, kind, steps=20, kills=3, seed=1)


def test_a_game_is_killed(tmp_path):
    disturb(tmp_path, "gan", steps=8, kills=1, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PICTURES)
def test_five_kills_of_each_family_of_pictures(tmp_path, kind):
    disturb(tmp_path, kind, steps=40, kills=5, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KILLED)
def test_twenty_kills(tmp_path, kind):
    in_time, halves = disturb(tmp_path, kind, steps=100, kills=20, seed=2)
    print(f"{in_time} of 20 kills in time, {halves} in the middle of a checkpoint")


def test_a_second_process_is_refused(tmp_path):
    with lock(tmp_path):
        second = start(tmp_path, "source", 1)
        second.join()
    assert second.exitcode == 2
    said = (tmp_path / "refused").read_text()
    assert "another process is working in this folder" in said
    assert f"process {os.getpid()}" in said
    with lock(tmp_path):
        pass  # free again
    with pytest.raises(RunError), lock(tmp_path), lock(tmp_path):
        pass
