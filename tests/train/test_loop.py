import os
import signal
from dataclasses import replace

import pytest
import torch

from makar.core.device import Machine
from makar.core.errors import Diverged
from makar.core.files import read_sealed, write_sealed
from makar.core.nouns import Cost, Loss, Verdict
from makar.data.table import TensorSource
from makar.train.checkpoint import load, steps_in
from makar.train.config import Constant, Optimizer
from makar.train.history import NEAR, WINDOW
from makar.train.loop import Periodic, fit, load_weights
from makar.train.metrics import read_metrics
from tests.contract.support import ALL, Killed, equal_weights, fresh, killer, looker, losses, settings, train


class Spoiled:
    """An objective whose loss is spoiled at some steps."""

    def __init__(self, inner, steps, factor=float("nan"), times=10**9):
        self.inner, self.steps, self.factor, self.times = inner, steps, factor, times
        self.players, self.prepare = inner.players, inner.prepare

    def __call__(self, model, micro, player, rng):
        loss = self.inner(model, micro, player, rng)
        if rng.step in self.steps and self.times:
            self.times -= 1
            return Loss(loss.sum * self.factor, loss.count, loss.logs)
        return loss


def run(folder, config, *, objective=None, name="toy-vae", model=None, **more):
    """Fit the toy VAE, say; returns the outcome, the model, the metrics and what was said."""
    found, said = ALL[name], []
    model = model or fresh(name)
    objective = objective or next(iter(found.objectives.values()))()
    source = more.pop("source", None) or found.tiny()[1]
    outcome = fit(model, source, objective, config, seed=0, folder=folder, say=said.append, **more)
    return outcome, model, read_metrics(folder / "metrics.jsonl"), said


def elbo():
    return ALL["toy-vae"].objectives["elbo"]()


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    run(tmp_path, settings(3))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    outcome, model, _, said = run(tmp_path, settings(3), model=fresh("toy-vae", seed=9))
    assert (outcome.step, outcome.loss, outcome.interrupted, said) == (3, None, False, [])
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert equal_weights(model, run(tmp_path / "again", settings(3))[1])


class Empty(Spoiled):
    """An objective that finds nothing to learn from in the rows of some steps."""

    def __call__(self, model, micro, player, rng):
        loss = self.inner(model, micro, player, rng)
        return replace(loss, sum=loss.sum * 0, count=loss.count * 0) if rng.step in self.steps else loss


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_with_nothing_to_learn_from_changes_nothing_and_is_told(tmp_path, name):
    always = {"optimizer": Optimizer(name=name, weight_decay=0.5), "schedule": Constant(warmup=0)}
    of_language = {"name": "language", "objective": Empty(ALL["language"].objectives["next_token"](), {1, 2})}
    run(tmp_path / "one", settings(1, **always), **of_language)
    _, _, lines, said = run(tmp_path / "three", settings(3, **always), **of_language)
    one, three = (load(tmp_path / which / "checkpoints", step).tensors for which, step in (("one", 1), ("three", 3)))
    assert any(name.endswith(".momentum" if name == "muon" else ".exp_avg") for name in one)
    assert [key for key in one if not torch.equal(one[key], three[key])] == []
    assert [line["count"] > 0 for line in lines if line["kind"] == "train"] == [True, False, False]
    assert [line for line in said if "nothing to learn from" in line] == [
        f"step {step}: its rows hold nothing to learn from, and it changed nothing" for step in (1, 2)
    ]


def test_the_seed_and_only_the_seed_matters(tmp_path):
    _, _, one, _ = run(tmp_path / "a", settings(3))
    torch.manual_seed(123)
    _, _, two, _ = run(tmp_path / "b", settings(3))
    assert losses(one) == losses(two)
    fit(fresh("toy-vae"), ALL["toy-vae"].tiny()[1], elbo(), settings(3), seed=1, folder=tmp_path / "c")
    assert losses(read_metrics(tmp_path / "c" / "metrics.jsonl")) != losses(one)


def test_the_net_ends_with_its_averaged_weights(tmp_path):
    _, plain, _, _ = run(tmp_path / "plain", settings(6))
    _, averaged, _, _ = run(tmp_path / "average", settings(6, ema_halflife=1e6))
    assert not equal_weights(plain, averaged)
    again = fresh("toy-vae", seed=3)
    load_weights(again, tmp_path / "average", 6)
    assert equal_weights(again, averaged)


def test_watches_see_the_average_and_change_nothing(tmp_path):
    seen = []

    def watch(step, model):
        seen.append((step, model.net.training, next(model.net.parameters()).detach().clone()))
        torch.manual_seed(5)
        return Verdict(logs={"value": 1.0})

    config = settings(6, ema_halflife=3)
    _, model, quiet, _ = run(tmp_path / "a", config)
    _, watched, lines, _ = run(tmp_path / "b", config, watches=[Periodic("w", watch, 4)])
    assert losses(quiet) == losses(lines)
    assert equal_weights(model, watched)
    assert [(step, training) for step, training, _ in seen] == [(4, False), (6, False)]
    assert torch.equal(seen[-1][2], next(model.net.parameters()))
    assert [line["value"] for line in read_metrics(tmp_path / "b" / "metrics.jsonl", "watch")] == [1.0, 1.0]


def test_a_watch_stops_the_run_for_good(tmp_path):
    stop = looker(action=lambda step: "stop" if step == 4 else "go")
    outcome, _, _, _ = run(tmp_path, settings(9), watches=[stop])
    assert (outcome.step, outcome.ended) == (4, "a watch said stop")
    outcome, _, _, _ = run(tmp_path, settings(9))
    assert (outcome.step, outcome.ended) == (4, "a watch said stop")


def test_early_stop_keeps_the_best(tmp_path):
    watch = looker(score=lambda step: abs(step - 4.0), every=2)
    outcome, _, _, _ = run(tmp_path, settings(40, patience=3, checkpoint_steps=100), watches=[watch])
    assert (outcome.step, outcome.best, outcome.best_step) == (10, 0.0, 4)
    assert "no improvement in 3 looks" in outcome.ended
    assert steps_in(tmp_path / "checkpoints") == [10, 4]
    best = fresh("toy-vae")
    load_weights(best, tmp_path, outcome.best_step)
    _, four, _, _ = run(tmp_path / "four", settings(40), watches=[looker(action=lambda s: "stop" if s == 4 else "go")])
    assert equal_weights(best, four)


def test_patience_and_best_survive_a_kill(tmp_path):
    watch = looker(score=lambda step: abs(step - 4.0), every=2)
    config = settings(40, patience=3)
    with pytest.raises(Killed):
        run(tmp_path, config, watches=[watch, killer(7)])
    outcome, _, _, _ = run(tmp_path, config, watches=[watch])
    assert (outcome.step, outcome.best, outcome.best_step) == (10, 0.0, 4)


@pytest.mark.parametrize("name", ["toy-vae", "toy-gan"])
def test_a_loss_that_is_not_finite_sends_the_run_back_and_its_batch_is_skipped(tmp_path, name):
    objective = next(iter(ALL[name].objectives.values()))
    outcome, model, lines, said = run(tmp_path, settings(12), name=name, objective=Spoiled(objective(), {7}))
    assert outcome.step == 12
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert len(said) == 1
    assert "step 7" in said[0]
    assert "back to step 5, skipping step 7" in said[0]
    (event,) = read_metrics(tmp_path / "metrics.jsonl", "event")
    assert (event["step"], event["event"], event["left_out"]) == (7, "back", [7])
    assert all(p.isfinite().all() for p in model.net.parameters())


def test_a_rollback_replays_the_same_steps(tmp_path):
    _, _, calm, _ = run(tmp_path / "calm", settings(12))
    _, _, lines, _ = run(tmp_path / "spoiled", settings(12), objective=Spoiled(elbo(), {7}))
    assert losses(lines)[:7] == losses(calm)[:7]
    assert losses(lines)[7:] != losses(calm)[8:]  # one update is missing
    every = (tmp_path / "spoiled" / "metrics.jsonl").read_text().splitlines()
    assert sum('"step": 5,' in line and '"train"' in line for line in every) == 2


def test_a_rollback_and_a_kill_equal_a_rollback(tmp_path):
    def spoiled():
        return Spoiled(elbo(), {7})

    config = settings(12, ema_halflife=3)
    _, model, lines, _ = run(tmp_path / "whole", config, objective=spoiled())
    for at in (6, 9, 11):
        with pytest.raises(Killed):
            run(tmp_path / "killed", config, objective=spoiled(), watches=[killer(at)])
    _, again, resumed, _ = run(tmp_path / "killed", config, objective=spoiled())
    assert losses(resumed) == losses(lines)
    assert equal_weights(model, again)


def test_a_spike_is_a_fault_too(tmp_path):
    at = WINDOW + 6
    config = settings(at + 5, optimizer={"learning_rate": 1e-4}, checkpoint_steps=10)
    outcome, _, lines, said = run(tmp_path, config, objective=Spoiled(elbo(), {at}, factor=1e4))
    assert outcome.step == at + 5
    assert at not in [line["step"] for line in lines]
    assert "a spike" in said[0]


def test_twice_at_the_same_place_says_step_loss_and_rows(tmp_path):
    source = TensorSource(ALL["toy-vae"].tiny()[1].batch(0, 64), seed=0)
    with pytest.raises(Diverged) as fault:
        run(tmp_path, settings(20), objective=Spoiled(elbo(), {7, 9}), source=source)
    said = str(fault.value)
    assert "step 9" in said
    assert "loss nan" in said
    assert "skipping step 7" in said
    assert "rows 144 to 159 of the stream" in said
    assert fault.value.exit_code == 1
    event = read_metrics(tmp_path / "metrics.jsonl", "event")[-1]
    held = event["documents"]
    assert sorted(held) == held
    assert f"numbers {', '.join(map(str, held[:12]))} and 4 more" in said
    shown = {tuple(row.tolist()) for row in next(iter(source.batch(9, 16).values()))}
    assert shown == {tuple(row.tolist()) for row in next(iter(source.columns.values()))[held]}


def test_two_faults_far_apart_are_two_skips_and_the_first_is_saved_behind(tmp_path):
    config = settings(NEAR + 20, checkpoint_steps=1000)
    outcome, _, lines, said = run(tmp_path, config, objective=Spoiled(elbo(), {7, 7 + NEAR + 5}))
    assert outcome.step == NEAR + 20
    assert len(said) == 2
    assert f"back to step {7 + NEAR + 1}" in said[1]
    assert len(lines) == NEAR + 18
    assert load(tmp_path / "checkpoints", NEAR + 20).state["history"]["skipped"] == [7, 7 + NEAR + 5]


def test_a_watch_sends_the_run_back_and_what_came_after_is_skipped(tmp_path):
    calls = []

    def watch(step, model):
        calls.append(step)
        return Verdict(action="back" if calls.count(8) == 1 and step == 8 else "go", note="collapse")

    outcome, _, lines, said = run(tmp_path, settings(12), watches=[Periodic("alarm", watch, 4)])
    assert outcome.step == 12
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert "step 7: collapse; back to step 5, skipping steps 5 to 7" in said


def test_a_watch_sends_the_run_back_past_a_checkpoint_that_latest_never_came_to_name(tmp_path):
    run(tmp_path, settings(12))
    (tmp_path / "checkpoints" / "latest").write_text("step-00000010\n")  # killed between the rename and this
    looks = []

    def watch(step, model):
        looks.append(step)
        return Verdict(action="back" if len(looks) == 1 else "go", note="collapse")

    outcome, _, _, said = run(tmp_path, settings(12), watches=[Periodic("alarm", watch, 11)])
    assert outcome.step == 12
    assert "step 10: collapse; back to step 10, skipping step 10" in said


def guarded():
    """A run that goes wrong after 7 steps, which shows at 12, and seemed best between."""
    rang = []

    def guard(step, model):
        rang.extend([step] * (step == 12))
        return Verdict(action="back" if len(rang) == 1 and step == 12 else "go", note="collapse")

    def judge(step, model):
        return Verdict(score=9.0 if rang else float(abs(step - 9)))

    return [Periodic("judge", judge, 1), Periodic("alarm", guard, 6, guards=True)]


def test_what_went_wrong_before_it_showed_is_not_gone_back_to(tmp_path):
    config = settings(30, checkpoint_steps=2, ema_halflife=4)
    outcome, model, lines, said = run(tmp_path / "whole", config, watches=guarded())
    assert "step 11: collapse; back to step 6, skipping steps 6 to 11" in said
    assert [line["step"] for line in lines] == [*range(6), *range(12, 30)]
    assert outcome.best_step == 6  # what was best at 9 is forgotten
    assert load(tmp_path / "whole" / "checkpoints", 6).step == 6
    with pytest.raises(Killed):
        run(tmp_path / "killed", config, watches=[*guarded(), killer(15)])
    _, again, resumed, _ = run(tmp_path / "killed", config, model=fresh("toy-vae", seed=1))
    assert losses(resumed) == losses(lines)
    assert equal_weights(again, model)


def test_the_last_good_look_stays_however_much_was_saved_since(tmp_path):
    alarm = Periodic("alarm", lambda step, model: Verdict(), 6, guards=True)
    with pytest.raises(Killed):
        run(tmp_path, settings(20, checkpoint_steps=1), watches=[killer(11), alarm])
    assert steps_in(tmp_path / "checkpoints") == [10, 9, 6]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_first_and_the_same_call_goes_on(tmp_path, number):
    config = settings(12, checkpoint_steps=1000, ema_halflife=4)
    _, model, lines, _ = run(tmp_path / "whole", config)

    def watch(step, _):
        if step == 7:
            os.kill(os.getpid(), number)
        return Verdict()

    before = signal.getsignal(number)
    outcome, _, _, _ = run(tmp_path / "cut", config, watches=[Periodic("signal", watch, 1)])
    assert outcome.interrupted
    assert 7 <= outcome.step <= 8
    assert steps_in(tmp_path / "cut" / "checkpoints")[0] == outcome.step
    assert signal.getsignal(number) is before
    again, resumed_model, resumed, _ = run(tmp_path / "cut", config, model=fresh("toy-vae", seed=1))
    assert not again.interrupted
    assert losses(resumed) == losses(lines)
    assert equal_weights(model, resumed_model)


def test_progress_counts_units_and_the_share_of_the_peak(tmp_path):
    seen = []
    cost = Cost(parameters=1, flops=1e6, activations=1.0, units=("tokens", 128))
    machine = Machine("cpu", "x", 1, 1, "x", fp32=1e12, bf16=1.0, bf16_gain=0.5)
    _, _, lines, _ = run(tmp_path, settings(4), progress=seen.append, cost=cost, machine=machine)
    assert [(p.step, p.steps, p.units) for p in seen] == [(n, 4, "tokens") for n in (1, 2, 3, 4)]
    last = seen[-1]
    assert last.rate > 0
    assert last.seconds_left == 0
    assert last.loss == lines[-1]["loss"]
    assert last.peak_share == pytest.approx(last.rate / 128 * 1e6 / 1e12)
    assert lines[-1]["tokens_per_second"] == last.rate
    assert float.fromhex(lines[-1]["loss_hex"]) == last.loss


def test_only_every_nth_step_is_logged(tmp_path):
    _, _, lines, _ = run(tmp_path, settings(7, log_every=3))
    assert [line["step"] for line in lines] == [0, 3, 6]
    assert all(line["seconds_since"] > line["seconds"] > 0 for line in lines[1:]), "of three steps, and of one"
    assert lines[0]["seconds_since"] == lines[0]["seconds"]


def test_checkpoints_come_by_the_clock_too(tmp_path, monkeypatch):
    saved = []
    from makar.train import checkpoint

    real = checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda folder, made, best: (saved.append(made.step), real(folder, made, best))
    )
    run(tmp_path / "a", settings(4, checkpoint_steps=1000, checkpoint_seconds=1e-9))
    run(tmp_path / "b", settings(4, checkpoint_steps=1000, checkpoint_seconds=1e9))
    assert saved == [0, 1, 2, 3, 4, 0, 4]


class Counted:
    """A source with a history: each batch is moved by how many were drawn before it."""

    def __init__(self):
        self.inner, self.drawn = ALL["toy-vae"].tiny()[1], torch.zeros(())

    def batch(self, step, size):
        self.drawn = self.drawn + 1
        return {"x": self.inner.batch(step, size)["x"] + 0.01 * self.drawn}

    def state(self):
        return {"drawn": self.drawn}

    def load_state(self, state):
        self.drawn = state["drawn"].clone()


def test_a_source_with_a_history_goes_on_where_it_was(tmp_path):
    config = settings(12)
    _, model, lines, _ = run(tmp_path / "whole", config, source=Counted())
    for at in (3, 8):
        with pytest.raises(Killed):
            run(tmp_path / "killed", config, source=Counted(), watches=[killer(at)])
    _, again, resumed, _ = run(tmp_path / "killed", config, source=Counted())
    assert losses(resumed) == losses(lines)
    assert equal_weights(model, again)


def test_damaged_decisions_are_taken_from_the_checkpoint(tmp_path):
    fast = Machine("cpu", "x", 1, 1, "x", fp32=1.0, bf16=3.0, bf16_gain=3.0)
    slow, file = replace(fast, bf16_gain=0.5), tmp_path / "checkpoints" / "decisions.json"
    with pytest.raises(Killed):
        run(tmp_path, settings(4, checkpoint_steps=1), machine=fast, watches=[killer(2)])
    file.write_text(file.read_text().replace("bf16", "fp32"))
    outcome, _, _, said = run(tmp_path, settings(4, checkpoint_steps=1), machine=slow)
    assert outcome.decisions["precision"] == "bf16"
    assert "going on with what was decided by step 1" in said[0]
    assert run(tmp_path, settings(4, checkpoint_steps=1), machine=slow)[3] == []


def test_decisions_are_made_once(tmp_path):
    fast = Machine("cpu", "x", 1, 1, "x", fp32=1.0, bf16=3.0, bf16_gain=3.0)
    slow = replace(fast, bf16_gain=0.5)
    config = settings(4, compile="auto")
    first, _, _, _ = run(tmp_path / "a", config, machine=fast)
    assert first.decisions["precision"] == "bf16"
    assert run(tmp_path / "b", config, machine=slow)[0].decisions["precision"] == "fp32"
    with pytest.raises(Killed):
        run(tmp_path / "c", config, machine=fast, watches=[killer(2)])
    outcome, _, lines, _ = run(tmp_path / "c", config, machine=slow)
    assert outcome.decisions == first.decisions
    assert losses(lines) == losses(read_metrics(tmp_path / "a" / "metrics.jsonl"))
    assert losses(lines) != losses(read_metrics(tmp_path / "b" / "metrics.jsonl"))


def test_another_torch_is_said_and_the_threads_of_the_start_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(Killed):
        run(tmp_path, settings(4), watches=[killer(2)])
    file = tmp_path / "checkpoints" / "decisions.json"
    write_sealed(file, read_sealed(file) | {"torch": "1.0", "threads": 2})
    try:
        _, _, _, said = run(tmp_path, settings(4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert "began with torch 1.0" in said[0]
    assert "equal only up to rounding" in said[0]
    assert not any("threads" in line for line in said)


def test_frozen_parameters_stay(tmp_path):
    model = fresh("toy-vae")
    model.net.encoder.requires_grad_(False)
    before = {n: p.detach().clone() for n, p in model.net.named_parameters()}
    run(tmp_path, settings(3), model=model)
    for name, parameter in model.net.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("encoder"), name


def test_muon_trains_and_resumes(tmp_path):
    config = settings(8, optimizer={"name": "muon", "learning_rate": 3e-3})
    _, model, lines, _ = run(tmp_path / "whole", config, name="language")
    with pytest.raises(Killed):
        run(tmp_path / "killed", config, name="language", watches=[killer(6)])
    _, again, resumed, _ = run(tmp_path / "killed", config, name="language", model=fresh("language", seed=1))
    assert losses(resumed) == losses(lines)
    assert equal_weights(model, again)
    assert train("language", "next_token", tmp_path / "adamw", settings(8))[1][-1]["loss"] != lines[-1]["loss"]
