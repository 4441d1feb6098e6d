import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from makar.core.errors import RunError
from makar.train import distributed
from makar.train.checkpoint import newest
from makar.train.distributed import World, buckets, join
from makar.train.loop import decide
from makar.train.metrics import read_metrics
from tests.contract.support import CASES, fresh, settings
from tests.train.worker import EXACT, parallel


def test_buckets_hold_every_tensor_once_and_one_dtype(monkeypatch):
    monkeypatch.setattr(distributed, "BUCKET", 10)
    tensors = [torch.zeros(n) for n in (4, 4, 4, 25, 1, 9)] + [torch.zeros(2, dtype=torch.int64)]
    found = buckets(tensors)
    assert [[t.numel() for t in bucket] for bucket in found] == [[4, 4], [4], [25], [1, 9], [2]]


def test_a_bucket_lies_on_one_device():
    tensors = [torch.zeros(2), torch.zeros(2), torch.zeros(2, device="meta"), torch.zeros(2)]
    assert [[t.device.type for t in bucket] for bucket in buckets(tensors)] == [["cpu", "cpu"], ["meta"], ["cpu"]]


def test_beside_gpus_what_lies_on_the_cpu_can_be_added_up_too(monkeypatch):
    asked = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(distributed.atexit, "register", lambda function: None)
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda backend, timeout: asked.append(backend))
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    assert join() == World(1, 2)
    assert asked == ["cpu:gloo,cuda:nccl"]


def test_rank_0_goes_first(monkeypatch):
    order = []
    monkeypatch.setattr(World, "agree", lambda world, value: order.append("met"))
    for rank in (0, 1):
        with World(rank, 2).first():
            order.append(rank)
    assert order == [0, "met", "met", 1]


def test_alone_nothing_is_exchanged():
    world = join()
    assert world == World(0, 1)
    tensor = torch.ones(3)
    world.sum([tensor])
    world.equalize([tensor])
    assert tensor.tolist() == [1, 1, 1]
    assert world.agree("x") == "x"


def test_more_processes_than_rows_is_said(tmp_path):
    with pytest.raises(RunError, match="more processes than rows"):
        decide(settings(1, batch_size=2), None, World(0, 3), tmp_path, print)


def start(folder, what):
    """Two processes under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.train.worker", str(folder), what]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[2])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Every family trained by one process and by two."""
    folder = tmp_path_factory.mktemp("parallel")
    parallel(folder / "one")
    assert start(folder / "two", "parallel").wait() == 0
    return folder


@pytest.mark.parametrize("case", [*("-".join(case) for case in CASES), "faults"])
def test_two_processes_equal_one(both, case):
    one, two = (newest(both / which / case / "checkpoints", print) for which in ("one", "two"))
    assert one.step == two.step == (9 if case == "faults" else 6)
    assert one.state["history"]["skipped"] == two.state["history"]["skipped"] == ([3] if case == "faults" else [])
    assert one.state["history"]["best_step"] == two.state["history"]["best_step"]
    weights = [name for name in one.tensors if name.startswith(("net/", "average/"))]
    assert weights
    for name in weights:
        assert torch.allclose(one.tensors[name], two.tensors[name], atol=1e-5, rtol=1e-5), name
    lines = [read_metrics(both / which / case / "metrics.jsonl") for which in ("one", "two")]
    kept = [len((both / which / case / "metrics.jsonl").read_text().splitlines()) for which in ("one", "two")]
    assert kept[0] == kept[1]  # rank 0 alone writes
    for first, second in zip(*lines, strict=True):
        for key in (key for key in first if key.endswith(("loss", "count", "norm"))):
            assert second[key] == pytest.approx(first[key], rel=1e-5), key


@pytest.mark.parametrize("case", EXACT)
def test_two_processes_equal_one_to_a_millionth(both, case):
    one, two = (newest(both / which / case / "checkpoints", print) for which in ("one", "two"))
    weights = [name for name in one.tensors if name.startswith(("net/", "average/"))]
    assert max(float((one.tensors[name] - two.tensors[name]).abs().max()) for name in weights) < 1e-6
    start = fresh("language").net.state_dict()
    assert max(float((one.tensors[f"net/{name}"] - start[name]).abs().max()) for name in start) > 1e-3  # it did learn


@pytest.mark.slow
def test_a_signal_saves_what_both_processes_agree_on(tmp_path):
    torchrun, file = start(tmp_path, "long"), tmp_path / "metrics.jsonl"
    try:
        while not file.exists() or file.read_bytes().count(b"\n") < 20:
            assert torchrun.poll() is None
            time.sleep(0.05)
        torchrun.terminate()  # which it passes on to its processes
        torchrun.wait(60)
    finally:
        torchrun.kill()
    saved = newest(tmp_path / "checkpoints", print)
    assert saved.step >= 20
    assert read_metrics(file)[-1]["step"] == saved.step - 1
