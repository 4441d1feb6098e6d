"""Fresh pairs of pictures, and Diffusion-DPO: its formula, what it keeps, and that it goes on to the bit."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from makar.align.config import RolloutConfig
from makar.align.pictures import DrawnLevel, PicturePairs, PicturePrompt, instead_of_flat, made
from makar.align.preference import dpo
from makar.core.config import parse
from makar.core.errors import InputError, ModelError
from makar.core.nouns import StatefulSource
from makar.core.random import Rng
from makar.train.checkpoint import newest
from makar.train.config import TrainConfig
from makar.train.distributed import World
from makar.train.loop import fit
from makar.train.metrics import read_metrics
from tests.align.painters import labelled, light, noisy, of, painter, rewarded
from tests.align.support import frozen, run

torch.set_num_threads(1)
TRAIN = TrainConfig(
    steps=4, batch_size=4, compile="off", checkpoint_steps=2, precision="fp32",
    optimizer={"learning_rate": 0.003, "weight_decay": 0.0}, schedule={"name": "constant", "warmup": 0.0},
)  # fmt: skip


def learner(model):
    """The model, as Diffusion-DPO sees it."""
    return dataclasses.replace(model, family=dataclasses.replace(model.family, log_prob=DrawnLevel()))


def pairs(model=None, **more):
    model = model or painter()
    plain = {"prompts": labelled(0, 1), "rewards": [rewarded(light, "light", 2.0)]}
    config = RolloutConfig(group=3, **more.pop("config", {}))
    return PicturePairs(model, config=config, settings=settings(model), seed=5, **plain | more)


def settings(model):
    return parse(model.family.settings, dict(model.generation), "test")


def test_the_loss_is_equation_14_on_the_ddpm_path():
    """With its own alphas and sigmas: x_t = alpha x + sigma eps, and both sides at one t behind one noise."""
    model, reference = noisy(0), noisy(1)
    torch.manual_seed(0)
    chosen, rejected = torch.rand(2, 5, 1, 8, 8) * 2 - 1
    label, beta = torch.tensor([0, 1, 1, 0, 1]), 0.3
    batch = {"chosen_images": chosen, "rejected_images": rejected, "chosen_label": label, "rejected_label": label}
    loss, logs, _ = run(dpo(frozen(learner(reference)), beta=beta), learner(model), batch)

    rng = Rng(0, 0, torch.arange(5))
    steps, noise = rng.integers("time", 1000), rng.normal("noise", 1, 8, 8)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[steps][:, None, None, None]

    def error(of, images):
        with torch.no_grad():
            said = of.net(kept.sqrt() * images + (1 - kept).sqrt() * noise, steps.float(), label)
        return (said - noise).square().sum((1, 2, 3))

    won = error(model, chosen) - error(reference, chosen)
    lost = error(model, rejected) - error(reference, rejected)
    inside = -beta / 2 * (won - lost)
    assert loss == pytest.approx(float(-F.logsigmoid(inside).mean()), rel=1e-4)
    assert logs["margin"] == pytest.approx(float(inside.mean()), rel=1e-3)
    assert inside.abs().max() > 0.1, "the formula is tried where it bends"


def test_levels_are_drawn_anew_each_step_and_alike_for_both_models():
    model = learner(painter())
    batch = {"images": torch.zeros(64, 1, 8, 8), "label": torch.zeros(64, dtype=torch.int64)}
    score = model.family.log_prob
    with torch.no_grad():
        one, mask = score(model, batch, Rng(0, 0, torch.arange(64)))
        again, _ = score(model, batch, Rng(0, 0, torch.arange(64)))
        later, _ = score(model, batch, Rng(0, 1, torch.arange(64)))
    assert one.shape == mask.shape == (64, 1)
    assert mask.all()
    assert torch.equal(one, again)
    assert not torch.equal(one, later)
    assert one.std() > 0.1 * one.mean().abs(), "rows meet other levels"


def test_pairs_hold_the_best_and_the_worst_of_a_prompt():
    source = pairs()
    assert isinstance(source, StatefulSource)
    batch = source.batch(0, 4)
    assert batch["chosen_images"].shape == (4, 1, 8, 8)
    assert torch.equal(batch["chosen_label"], batch["rejected_label"])
    assert batch["chosen_label"].bincount().tolist() == [2, 2]
    best, worst = light(batch["chosen_images"]), light(batch["rejected_images"])
    assert (best > worst).all()
    torch.testing.assert_close(batch["log_best_reward"], 2 * best)
    assert (batch["log_reward"] < batch["log_best_reward"]).all()
    torch.testing.assert_close(batch["log_reward"], 2 * batch["log_reward/light"])
    levels = (batch["chosen_images"] + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)


def test_pairs_are_a_function_of_step_seed_and_weights():
    one, again = pairs().batch(3, 4), pairs().batch(3, 4)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(pairs(painter(1)).batch(3, 4)["chosen_images"], one["chosen_images"])
    assert not torch.equal(pairs().batch(4, 4)["chosen_images"], one["chosen_images"])


def test_one_rollout_serves_several_batches_and_epochs_and_its_state_goes_on():
    config = {"batches": 2, "epochs": 2}
    source = pairs(config=config)
    steps = [source.batch(step, 4) for step in range(4)]
    assert torch.equal(steps[0]["chosen_images"], steps[2]["chosen_images"])
    assert not torch.equal(steps[0]["chosen_images"], steps[1]["chosen_images"])
    other = pairs(painter(9), config=config)
    other.load_state({name: t.clone() for name, t in source.state().items()})
    found = other.batch(3, 4)
    assert all(torch.equal(steps[3][name], found[name]) for name in found)


def test_processes_share_the_pictures_out(monkeypatch):
    whole = pairs().batch(0, 4)
    halves = []
    for rank in (0, 1):
        source = pairs(world=World(rank, 2))
        monkeypatch.setattr(World, "sum", lambda world, tensors: None)
        monkeypatch.setattr("makar.align.pictures.instead_of_flat", lambda rows, flat: rows)
        halves.append(source.roll(0, 4))
    for name, column in whole.items():
        torch.testing.assert_close(halves[0][name] + halves[1][name], column)


def test_what_teaches_nothing_is_replaced_or_refused():
    rows = {"chosen_images": torch.arange(4.0), "log_flat_groups": torch.tensor([0.0, 1, 1, 0])}
    found = instead_of_flat(rows, rows["log_flat_groups"] > 0)
    assert found["chosen_images"].tolist() == [0, 3, 0, 3]
    assert found["log_flat_groups"].tolist() == [0, 1, 1, 0]
    with pytest.raises(InputError, match=r"earn the same.*rollouts\.group"):
        pairs(rewards=[rewarded(lambda images: torch.ones(len(images)))]).batch(0, 4)


def test_bad_input_is_said():
    with pytest.raises(InputError, match="no prompts"):
        pairs(prompts=[])
    with pytest.raises(InputError, match=r"reward mine, row 0: the reward gave nan"):
        pairs(rewards=[rewarded(lambda images: light(images) * float("nan"), "mine")]).batch(0, 4)
    with pytest.raises(InputError, match="no such class"):
        pairs(prompts=labelled(7)).batch(0, 4)
    model = of("gan")
    batch = {f"{side}_images": torch.zeros(2, 1, 8, 8) for side in ("chosen", "rejected")}
    with pytest.raises(ModelError, match="cannot say how likely"):
        run(dpo(frozen(model)), model, batch)


def test_a_variational_autoencoder_learns_from_its_pictures_too(tmp_path):
    model = of("vae")
    reference = frozen(model)
    source = pairs(model, prompts=[PicturePrompt()], config={"batches": 2})
    batch = source.batch(0, 4)
    assert batch.keys() == {
        "chosen_images", "rejected_images", "log_reward", "log_best_reward", "log_flat_groups", "log_reward/light",
    }  # fmt: skip
    fit(model, source, dpo(reference), TRAIN, seed=0, folder=tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines[-1]["margin"] > 0


def test_diffusion_dpo_raises_the_reward_of_what_is_made(tmp_path):
    """The light of pictures of noise that is not the training's rises, and the rows' own rewards are logged."""
    model = learner(painter())
    reference = frozen(model)
    config = {"batches": 2, "epochs": 2}
    source = pairs(model, config=config, journal=tmp_path / "metrics.jsonl")
    fit(model, source, dpo(reference, beta=0.1), TRAIN.model_copy(update={"steps": 8}), seed=0, folder=tmp_path)
    seeds, prompts = range(1000, 1016), [0, 1] * 8
    before, after = (light(made(of, prompts, seeds, settings(of))).mean() for of in (reference, model))
    assert after > before + 0.02
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert {"reward", "reward/light", "best_reward", "flat_groups", "margin", "accuracy"} <= lines[0].keys()
    (first, *_) = read_metrics(tmp_path / "metrics.jsonl", "rollout")
    assert first["reward"] == pytest.approx(2 * first["reward/light"], rel=1e-5)


class Killed(BaseException):
    """Stands for a kill."""


def test_a_killed_run_goes_on_in_the_middle_of_its_rollout(tmp_path):
    def train(folder, progress=None):
        model = learner(painter())
        source = pairs(model, config={"batches": 2, "epochs": 2})
        fit(model, source, dpo(frozen(model)), TRAIN, seed=0, folder=folder, progress=progress)

    def kill(state):
        if state.step == 3:
            raise Killed

    train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", kill)
    train(tmp_path / "killed")
    wanted, found = (newest(tmp_path / name / "checkpoints", print) for name in ("whole", "killed"))
    assert "source/rows/chosen_images" in found.tensors
    assert all(torch.equal(t, found.tensors[name]) for name, t in wanted.tensors.items())
    losses = [[line["loss_hex"] for line in read_metrics(tmp_path / n / "metrics.jsonl")] for n in ("whole", "killed")]
    assert losses[0] == losses[1]
