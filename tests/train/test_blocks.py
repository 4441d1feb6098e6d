import json

import pytest
import torch
from torch import nn

from makar.core.errors import ResourceError
from makar.train import session
from makar.train.blocks import COMPILE_SECONDS, kinds, prepared, worth_compiling
from makar.train.checkpoint import load
from tests.contract.support import equal_weights, fresh, losses, settings, train
from tests.train.test_resume import FORKS
from tests.train.worker import run_compiled


def test_equal_blocks_are_one_kind():
    assert kinds([nn.Linear(3, 4), nn.Linear(3, 4)]) == 1
    assert kinds([nn.Linear(3, 4), nn.Linear(4, 4)]) == 2
    assert kinds([nn.Linear(3, 4).requires_grad_(False), nn.Linear(3, 4)]) == 2
    assert kinds([]) == 0


def test_compiling_must_be_earned_back():
    blocks = [nn.Linear(3, 4)] * 4
    assert worth_compiling(blocks, step_seconds=1.0, steps_left=10_000)
    assert not worth_compiling(blocks, step_seconds=1.0, steps_left=int(COMPILE_SECONDS))
    assert not worth_compiling(blocks, step_seconds=1e-3, steps_left=10_000)
    assert not worth_compiling([], step_seconds=1.0, steps_left=10_000)


def test_recomputing_changes_no_bit_and_keeps_less(tmp_path):
    model, lines = train("language", "next_token", tmp_path / "a", settings(4))
    again, other = train("language", "next_token", tmp_path / "b", settings(4, recompute=True))
    assert losses(lines) == losses(other)
    assert equal_weights(model, again)
    assert set(again.net.state_dict()) == set(fresh("language").net.state_dict())


def test_recomputing_keeps_only_the_inputs():
    kept: list[int] = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    block = nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(16, 16), nn.GELU())])
    rows = torch.randn(8, 16, requires_grad=True)
    sizes = []
    for recompute in (False, True):
        kept.clear()
        with prepared([block], recompute=recompute), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            block(rows)
        sizes.append(len(kept))
    assert sizes[1] < sizes[0] / 3
    assert "forward" not in block.__dict__


def test_the_forecast_is_kept_and_obeyed(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(session, "worth_compiling", lambda blocks, seconds, left: left == 14 and bool(seconds > 0))
    monkeypatch.setattr(session, "compile_blocks", lambda blocks, on: compiled.append((len(blocks), on)))
    config = settings(20, compile="auto", checkpoint_steps=10)
    said: list[str] = []
    train("language", "next_token", tmp_path, config, say=said.append)
    assert compiled[0] == (2, True)
    assert "compiling the blocks from step 6" in said[0]
    decisions = json.loads((tmp_path / "checkpoints" / "decisions.json").read_text())
    assert decisions["compile_from"] == 6
    assert load(tmp_path / "checkpoints", 20).step == 20


def test_compiled_blocks_that_are_slower_are_taken_back(tmp_path, monkeypatch):
    """Steps of a pretended clock: 1 s in eager mode, 2 s compiled."""
    compiled, clock = [False], [0.0]

    def compile_blocks(blocks, on):
        compiled[0] = on

    def perf_counter():
        clock[0] += 2.0 if compiled[0] else 1.0
        return clock[0]

    monkeypatch.setattr(session, "worth_compiling", lambda blocks, seconds, left: True)
    monkeypatch.setattr(session, "compiler_found", lambda: True)
    monkeypatch.setattr(session, "compile_blocks", compile_blocks)
    monkeypatch.setattr(session.time, "perf_counter", perf_counter)
    said: list[str] = []
    train("language", "next_token", tmp_path, settings(24, compile="auto", checkpoint_steps=10), say=said.append)
    decisions = json.loads((tmp_path / "checkpoints" / "decisions.json").read_text())
    assert (decisions["eager_seconds"], decisions["compiled_seconds"]) == (1.0, 2.0)
    assert (decisions["compile_from"], decisions["compile_until"]) == (6, 18)
    assert not compiled[0]
    assert said[-1] == "back to eager mode: compiled, a step takes 2.00 s"


@pytest.mark.slow
def test_compiled_blocks_learn_the_same_and_resume_to_the_bit(tmp_path):
    """In a process of its own: the type checks of the tests cannot be compiled."""
    process = FORKS.Process(target=run_compiled, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_without_a_compiler_nothing_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(session, "worth_compiling", lambda blocks, seconds, left: True)
    said: list[str] = []
    train("language", "next_token", tmp_path / "auto", settings(8, compile="auto"), say=said.append)
    assert "no C++ compiler" in said[0]
    with pytest.raises(ResourceError, match="C\\+\\+ compiler"):
        train("language", "next_token", tmp_path / "on", settings(8, compile="on"))
