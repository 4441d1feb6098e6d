"""Rollouts: what they give, what they keep, and that they go on to the bit."""

import dataclasses
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from makar.align.config import RolloutConfig
from makar.align.policy import grpo, ppo, rloo
from makar.align.rollouts import Penalty, Rollouts, at_the_end, by_group, by_others, by_values
from makar.align.value import attach_value_head, foreseen
from makar.core.errors import InputError
from makar.core.files import read_json
from makar.core.nouns import StatefulSource
from makar.nets.lora import adapter_parameters, attach
from makar.nets.lora_config import LoraConfig
from makar.train.checkpoint import newest
from makar.train.config import TrainConfig
from makar.train.distributed import World
from makar.train.loop import fit
from makar.train.metrics import read_metrics
from tests.align.support import asked, codec, frozen, rewarded, writer
from tests.align.worker import run_killed, trained

torch.set_num_threads(1)


def rollouts(model=None, **more):
    model = model or writer()
    config = RolloutConfig(group=3, max_tokens=5, **more.pop("config", {}))
    plain = {
        "prompts": asked("1+2=", "4+5=", "6+7=1", "8"),
        "rewards": [rewarded(lambda case: len(set(case.answer)), "variety", 0.5), rewarded(lambda case: 1.0, "one")],
        "estimate": by_group(),
        "end_id": codec().end_id,
    }
    return Rollouts(model, config=config, seed=5, **plain | more)


def test_rows_hold_prompts_answers_and_what_they_earned():
    source = rollouts(reference=frozen(writer(1)))
    assert isinstance(source, StatefulSource)
    batch = source.batch(0, 12)
    first = source.asked(0, 4)
    assert sorted(first) == [0, 1, 2, 3]
    mask = batch["loss_mask"]
    for row in range(12):
        prompt = source.prompts[first[row // 3]]
        begin, count = len(prompt.ids), int(mask[row].sum())
        assert batch["tokens"][row, :begin].tolist() == list(prompt.ids)
        assert mask[row].nonzero().flatten().tolist() == list(range(begin, begin + count))
        text = codec().text(batch["tokens"][row, begin : begin + count].tolist())
        assert batch["log_reward/variety"][row] == len(set(text))
        assert batch["log_reward"][row] == 0.5 * len(set(text)) + 1
        assert not batch["old_log_probs"][row][~mask[row, 1:]].any()
    assert (batch["log_decoding_gap"] <= 1e-3).all()
    assert batch["advantages"].view(4, 3, -1).amax(2).sum(1).abs().max() < 4
    assert {len(t) for t in batch.values()} == {12}


def test_a_rollout_is_a_function_of_step_seed_and_weights():
    batch, again = rollouts().batch(3, 6), rollouts().batch(3, 6)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    other = rollouts(writer(2)).batch(3, 6)
    assert rollouts().asked(3, 2) == rollouts(writer(2)).asked(3, 2)
    assert not torch.equal(other["old_log_probs"], batch["old_log_probs"])
    later = rollouts().batch(4, 6)
    assert later["tokens"].shape != batch["tokens"].shape or not torch.equal(later["tokens"], batch["tokens"])


def test_each_prompt_comes_once_an_epoch():
    source = rollouts()
    assert sorted(source.asked(0, 2) + source.asked(1, 2)) == [0, 1, 2, 3]
    assert sorted(source.asked(0, 3) + source.asked(1, 1)) != sorted(source.asked(0, 8))


def test_one_rollout_serves_several_batches_and_epochs():
    source, made = rollouts(config={"batches": 2, "epochs": 2}), []
    roll, source.roll = source.roll, lambda *a: made.append(a) or roll(*a)
    steps = [source.batch(step, 6) for step in range(5)]
    assert made == [(0, 12), (1, 12)]
    assert torch.equal(steps[0]["tokens"], steps[2]["tokens"])
    assert torch.equal(steps[1]["tokens"], steps[3]["tokens"])
    assert not torch.equal(steps[0]["advantages"], steps[1]["advantages"])


def test_state_goes_on_in_the_middle_of_a_rollout():
    source = rollouts(config={"batches": 2, "epochs": 2}, reference=frozen(writer(1)), penalty=Penalty(0.1, 1.0))
    source.batch(0, 6)
    state = {name: t.clone() for name, t in source.state().items()}
    wanted = source.batch(3, 6)
    other = rollouts(
        writer(9), config={"batches": 2, "epochs": 2}, reference=frozen(writer(1)), penalty=Penalty(0.1, 1.0)
    )
    other.load_state(state)
    found = other.batch(3, 6)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert other.kl_weight == source.kl_weight != 0.1


def test_groups_without_variance_are_counted_and_named(tmp_path):
    source = rollouts(
        rewards=[rewarded(lambda case: float(case.prompt == "8") * len(case.answer))],
        journal=tmp_path / "metrics.jsonl",
    )
    batch = source.batch(0, 12)
    flat = batch["log_flat_groups"].view(4, 3)[:, 0].bool().tolist()
    named = [prompt for prompt, is_flat in zip(source.asked(0, 4), flat, strict=True) if is_flat]
    assert {0, 1, 2} <= set(named)
    (line,) = read_metrics(tmp_path / "metrics.jsonl", "rollout")
    assert line["flat_prompts"] == named
    assert line["flat_groups"] == pytest.approx(len(named) / 4)
    assert line["best"]["prompt"] == "8" or line["reward"] == 0
    assert not batch["advantages"].view(4, 3, -1)[torch.tensor(flat)].any()


@pytest.mark.parametrize(("off", "precision", "said"), [(2e-3, "fp32", 1), (2e-3, "bf16", 0), (5e-4, "fp32", 0)])
def test_the_widest_gap_to_decoding_is_logged_and_said_where_too_wide(off, precision, said):
    """One token of one answer is enough."""
    lines = []
    source = rollouts(say=lines.append)
    look = source.look

    def astray(model, rows, number):
        found = look(model, rows, number)
        source.precision = lambda: precision
        found[2, rows["loss_mask"][2, 1:].long().argmax()] += off
        return found

    source.look = astray
    gap = source.batch(0, 6)["log_decoding_gap"]
    assert gap.tolist() == pytest.approx([off] * 6, abs=1e-5)
    assert len(lines) == said
    assert all("rollout 0: training finds a token 2.0e-03 nats off decoding, more than 0.001" in line for line in lines)


def test_processes_share_the_answers_out():
    whole = rollouts().batch(0, 12)
    for rank in (0, 1):
        source = rollouts(world=World(rank, 2))
        count = 12
        mine = source.world.share(count)
        seen = []
        source.world = dataclasses.replace(source.world)
        object.__setattr__(source.world, "sum", seen.extend)
        source.weighed = lambda rows, number: rows
        rows = source.roll(0, count)
        assert len(seen) == len(rows)
        width = whole["tokens"].shape[1]
        assert torch.equal(rows["tokens"][mine.start : mine.stop, :width], whole["tokens"][mine.start : mine.stop])
        others = [row for row in range(count) if row not in mine]
        assert not any(t[others].any() for t in rows.values())


def test_dropout_is_for_learning_alone():
    """What an answer was worth when it was made depends on no generator's state, so a killed run goes on to the bit."""
    model = writer()
    attach(model.net, model.family.blocks(model.net), LoraConfig(rank=2, dropout=0.5))
    for parameter in adapter_parameters(model.net, "default").values():
        torch.nn.init.normal_(parameter)
    model.net.train()
    found = [rollouts(model, reference=None).batch(0, 12) for _ in range(2)]
    assert (found[0]["log_decoding_gap"] <= 1e-3).all()
    assert torch.equal(found[0]["old_log_probs"], found[1]["old_log_probs"])
    assert model.net.training


def test_the_penalty_lowers_the_reward_by_the_divergence():
    reference = frozen(writer(1))
    plain = rollouts(reference=reference, estimate=by_others()).batch(0, 12)
    held = rollouts(reference=reference, estimate=by_others(), penalty=Penalty(0.3)).batch(0, 12)
    earned = plain["log_reward"] - 0.3 * plain["log_divergence"]
    grouped = earned.view(4, 3)
    wanted = ((grouped - grouped.mean(1, keepdim=True)) * 3 / 2).view(-1)
    found = (held["advantages"] * held["loss_mask"][:, 1:]).amax(1) + (
        held["advantages"] * held["loss_mask"][:, 1:]
    ).amin(1)
    torch.testing.assert_close(found.sign(), wanted.sign())
    torch.testing.assert_close(held["advantages"].abs().amax(1), wanted.abs(), rtol=1e-4, atol=1e-5)


def test_rewards_are_earned_at_the_last_part():
    mask = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0]], dtype=torch.bool)
    assert at_the_end(torch.tensor([2.0, 3.0]), mask).tolist() == [[0, 0, 2, 0], [3, 0, 0, 0]]


def test_bad_rewards_and_sizes_are_refused():
    with pytest.raises(InputError, match=r"multiple of rollouts.group 3"):
        rollouts().batch(0, 8)
    with pytest.raises(InputError, match="no prompts"):
        rollouts(prompts=[])
    with pytest.raises(InputError, match=r"reward rule, row \d+: the reward gave nan"):
        rollouts(rewards=[rewarded(lambda case: float("nan"))]).batch(0, 6)


@pytest.mark.parametrize("kind", ["grpo", "rloo", "ppo"])
def test_each_algorithm_teaches_an_easy_rule(tmp_path, kind):
    """The share of digits among the answer's characters rises."""
    model = writer()
    more = {"estimate": {"grpo": by_group(), "rloo": by_others(), "ppo": by_values()}[kind]}
    if kind == "ppo":
        attach_value_head(model.net)
        more["values"] = foreseen
    source = rollouts(
        model, rewards=[rewarded(lambda case: sum(c.isdigit() for c in case.answer) / 5)], **more,
    )  # fmt: skip
    objective = {"grpo": grpo, "rloo": rloo, "ppo": ppo}[kind]()
    config = TrainConfig(
        steps=24, batch_size=48, compile="off", optimizer={"learning_rate": 0.01, "weight_decay": 0.0},
        schedule={"name": "constant", "warmup": 0.0},
    )  # fmt: skip
    source.config = source.config.model_copy(update={"group": 12})
    fit(model, source, objective, config, seed=0, folder=tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert {"reward", "reward/rule", "entropy", "clipped", "length", "flat_groups", "decoding_gap"} <= lines[0].keys()
    assert max(line["decoding_gap"] for line in lines) <= 1e-3  # the net that answers is the net that trains
    assert lines[0]["clipped"] == 0
    assert sum(line["reward"] for line in lines[-4:]) / 4 > lines[0]["reward"] + 0.5


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.align.worker"])


@pytest.mark.parametrize(
    "kind",
    ["grpo", "ppo", pytest.param("rloo", marks=pytest.mark.slow), pytest.param("adapter", marks=pytest.mark.slow)],
)
def test_a_killed_run_goes_on_in_the_middle_of_its_rollout(tmp_path, kind):
    trained(tmp_path / "whole", kind)
    whole = tmp_path / "whole" / "run"
    killed, in_time = tmp_path / "killed" / "run", 0
    for lines in (3, 8):
        process = FORKS.Process(target=run_killed, args=(tmp_path / "killed", kind))
        process.start()
        while process.is_alive() and (
            not (killed / "metrics.jsonl").exists() or (killed / "metrics.jsonl").read_bytes().count(b"\n") < lines
        ):
            time.sleep(0.001)
        in_time += process.is_alive()
        process.kill()
        process.join()
    assert in_time, "no kill was in time"
    trained(tmp_path / "killed", kind)
    assert read_json(killed / "manifest.json")["finished"]
    wanted, found = (newest(folder / "checkpoints", print) for folder in (whole, killed))
    assert wanted.tensors.keys() == found.tensors.keys()
    held = {"ppo": ("net/value_head.weight", "source/rows/returns"), "adapter": ("source/rows/reference_log_probs",)}
    assert {"source/rows/advantages", *held.get(kind, ())} <= found.tensors.keys()
    assert kind not in ("rloo", "ppo") or float(found.tensors["source/kl_weight"]) not in (0, 0.05)
    assert all(torch.equal(t, found.tensors[name]) for name, t in wanted.tensors.items())
    losses = [[line["loss_hex"] for line in read_metrics(folder / "metrics.jsonl")] for folder in (whole, killed)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_two_processes_learn_from_the_same_rollouts_as_one(tmp_path):
    trained(tmp_path / "one")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.align.worker", str(tmp_path / "two")]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[2], check=True)
    one, two = (read_metrics(tmp_path / which / "run" / "metrics.jsonl") for which in ("one", "two"))
    assert len(one) == len(two) == 14
    for first, second in zip(one, two, strict=True):
        assert second["reward"] == first["reward"]
        assert second["loss"] == pytest.approx(first["loss"], abs=1e-5)
        assert second["kl"] == pytest.approx(first["kl"], rel=1e-3, abs=1e-6)
