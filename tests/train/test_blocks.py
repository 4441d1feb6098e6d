import json

import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from makar.core.errors import ResourceError
from makar.train import compiling, session
from makar.train.blocks import COMPILE_SECONDS, explained, kinds, prepared, worth_compiling
from makar.train.checkpoint import load
from tests.contract.support import equal_weights, fresh, losses, settings, train
from tests.train.test_resume import FORKS
from tests.train.worker import run_compiled, run_failing


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
    monkeypatch.setattr(compiling, "worth_compiling", lambda blocks, seconds, left: left == 14 and bool(seconds > 0))
    monkeypatch.setattr(compiling, "compile_blocks", lambda blocks, on: compiled.append((len(blocks), on)))
    monkeypatch.setattr(compiling, "frames", lambda: (2, 1))
    config = settings(20, compile="auto", checkpoint_steps=10)
    said: list[str] = []
    train("language", "next_token", tmp_path, config, say=said.append)
    assert compiled[0] == (2, True)
    assert said[1] == "compiled 1 of 2 functions of the blocks: the others run as they are"
    assert "compiling the blocks from step 6" in said[0]
    decisions = json.loads((tmp_path / "checkpoints" / "decisions.json").read_text())
    assert (decisions["compile_from"], decisions["compiled_functions"]) == (6, 1)
    assert load(tmp_path / "checkpoints", 20).step == 20


def test_compiled_blocks_that_are_slower_are_taken_back(tmp_path, monkeypatch):
    """Steps of a pretended clock: 1 s in eager mode, 2 s compiled."""
    compiled, clock = [False], [0.0]

    def compile_blocks(blocks, on):
        compiled[0] = on

    def perf_counter():
        clock[0] += 2.0 if compiled[0] else 1.0
        return clock[0]

    monkeypatch.setattr(compiling, "worth_compiling", lambda blocks, seconds, left: True)
    monkeypatch.setattr(compiling, "compiler_found", lambda: True)
    monkeypatch.setattr(compiling, "compile_blocks", compile_blocks)
    monkeypatch.setattr(session.time, "perf_counter", perf_counter)
    said: list[str] = []
    train("language", "next_token", tmp_path, settings(24, compile="auto", checkpoint_steps=10), say=said.append)
    decisions = json.loads((tmp_path / "checkpoints" / "decisions.json").read_text())
    assert (decisions["eager_seconds"], decisions["compiled_seconds"]) == (1.0, 2.0)
    assert (decisions["compile_from"], decisions["compile_until"]) == (6, 18)
    assert not compiled[0]
    assert said[-1] == "back to eager mode: compiled, a step takes 2.00 s"


def test_what_the_compiler_passes_over_is_refused_where_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "compile_blocks", lambda blocks, on: None)
    monkeypatch.setattr(compiling, "frames", lambda: (3, 0))
    with pytest.raises(ResourceError, match=r"passes the blocks over.*train\.compile to 'off'"):
        train("language", "next_token", tmp_path, settings(8, compile="on"))
    decisions = json.loads((tmp_path / "checkpoints" / "decisions.json").read_text())
    assert (decisions["compiled_functions"], decisions["eager_functions"]) == (0, 3)


def test_why_a_block_does_not_compile_is_said_in_one_line():
    with pytest.raises(ResourceError, match=r"a block does not compile \(got 'no C.. here'\)"), explained():
        raise TorchDynamoException("no C++ here\nand more of it")
    with pytest.raises(RuntimeError, match="shapes differ"), explained():
        raise RuntimeError("shapes differ")


def test_a_run_whose_blocks_do_not_compile_equals_one_that_never_tried(tmp_path, monkeypatch):
    """The compiler fails in the middle of its first step; the last checkpoint is two steps older."""
    real, failed = session.train_step, []

    def train_step(setting, batch, step, wishes):
        if step == 6 and not failed:
            failed.append(step)
            weight = next(iter(setting.players[0].parameters.values()))
            weight.grad = torch.ones_like(weight)
            raise TorchDynamoException("no C++ here")
        return real(setting, batch, step, wishes)

    eager, lines = train("language", "next_token", tmp_path / "eager", settings(12, checkpoint_steps=4))
    monkeypatch.setattr(compiling, "worth_compiling", lambda blocks, seconds, left: True)
    monkeypatch.setattr(compiling, "compile_blocks", lambda blocks, on: None)
    monkeypatch.setattr(session, "train_step", train_step)
    said: list[str] = []
    config = settings(12, compile="auto", checkpoint_steps=4)
    model, again = train("language", "next_token", tmp_path / "auto", config, say=said.append)
    assert said[1] == "back to eager mode from step 4: a block does not compile (no C++ here)"
    assert losses(again) == losses(lines)
    assert equal_weights(model, eager)


@pytest.mark.slow
@pytest.mark.parametrize(("wish", "said"), [("on", "a block does not compile"), ("auto", "back to eager mode from")])
def test_blocks_that_do_not_compile_are_refused_or_run_as_they_are(tmp_path, wish, said):
    """With a C++ compiler that is there and fails."""
    process = FORKS.Process(target=run_failing, args=(tmp_path, wish))
    process.start()
    process.join()
    assert said in (tmp_path / "said").read_text()


@pytest.mark.slow
def test_compiled_blocks_learn_the_same_and_resume_to_the_bit(tmp_path):
    """In a process of its own: the type checks of the tests cannot be compiled."""
    process = FORKS.Process(target=run_compiled, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_without_a_compiler_nothing_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(compiling, "worth_compiling", lambda blocks, seconds, left: True)
    said: list[str] = []
    train("language", "next_token", tmp_path / "auto", settings(8, compile="auto"), say=said.append)
    assert "no C++ compiler" in said[0]
    with pytest.raises(ResourceError, match="C\\+\\+ compiler"):
        train("language", "next_token", tmp_path / "on", settings(8, compile="on"))
