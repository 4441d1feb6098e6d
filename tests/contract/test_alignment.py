"""What alignment will ask of the loop, on toys: log-probabilities of a reference, rollouts with a history."""

import copy
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from makar.core.nouns import Loss, Request
from makar.core.random import key_of
from makar.data.table import TensorSource
from makar.engine.run import Engine
from makar.train.loop import fit
from makar.train.metrics import read_metrics
from tests.contract.support import ALL, Killed, equal_weights, fresh, killer, losses, settings, train
from tests.contract.toys.common import circle


class Preference:
    """DPO over any family's log-probabilities. Paper: Rafailov et al. 2023, arXiv:2305.18290, eq. 7."""

    players = ("",)

    def __init__(self, log_prob, reference, beta=0.1):
        self.log_prob, self.reference, self.beta = log_prob, reference, beta

    def margin(self, model, batch, rng):
        """How much likelier the chosen is than the rejected, with the same noise for both."""
        sides = []
        for side in ("chosen", "rejected"):
            rows = {name.removeprefix(f"{side}_"): t for name, t in batch.items() if name.startswith(side)}
            values, mask = self.log_prob(model, rows, rng)
            sides.append((values * mask).sum(1))
        return sides[0] - sides[1]

    def prepare(self, model, batch, rng):
        return batch | {"reference": self.margin(self.reference, batch, rng)}

    def __call__(self, model, micro, player, rng):
        gain = self.margin(model, micro, rng) - micro["reference"]
        return Loss(-F.logsigmoid(self.beta * gain).sum(), torch.tensor(float(len(gain))), {"won": (gain > 0).sum()})


@pytest.fixture
def pairs():
    """Points on the right half of the circle are preferred to those on the left."""
    points = circle(128)
    order = points[:, 0].argsort()
    return TensorSource({"rejected_x": points[order[:64]], "chosen_x": points[order[64:]]}, seed=0)


def prefer(folder, pairs, model, reference, **more):
    objective = Preference(model.family.log_prob, reference)
    fit(model, pairs, objective, settings(20, **more), seed=0, folder=folder)
    return read_metrics(folder / "metrics.jsonl")


def test_a_preference_starts_at_one_half_and_is_learned(tmp_path, pairs):
    model, _ = train("toy-vae", "elbo", tmp_path / "pretrain", settings(60))
    reference = copy.deepcopy(model)
    lines = prefer(tmp_path / "dpo", pairs, model, reference)
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert lines[-1]["loss"] < 0.4
    assert lines[-1]["won"] > 0.9
    parts = prefer(tmp_path / "parts", pairs, copy.deepcopy(reference), reference, micro_batch_size=3)
    assert [x["loss"] for x in parts] == pytest.approx([x["loss"] for x in lines], rel=1e-3)


class Reinforce:
    """Ascend the advantage of what was sampled. Paper: Williams 1992, eq. 11, with a moving baseline."""

    players = ("",)

    def prepare(self, model, batch, rng):
        return batch

    def __call__(self, model, micro, player, rng):
        chosen = model.net(micro["place"]).log_softmax(1).gather(1, micro["action"][:, None]).squeeze(1)
        return Loss(
            -(chosen * micro["advantage"]).sum(), torch.tensor(float(len(chosen))), {"reward": micro["reward"].sum()}
        )


class Rollouts:
    """Fresh answers of the model itself, with a baseline that remembers: the checkpoint keeps it."""

    def __init__(self, model):
        self.model, self.baseline = model, torch.zeros(())

    def batch(self, step, size):
        requests = [Request(seed=key_of(step, row) >> 1) for row in range(size)]
        place = torch.tensor([r.seed % 4 for r in requests])
        with torch.no_grad():
            shares = self.model.net(place).softmax(1)
        ticket = torch.tensor([(r.seed >> 8) % 1000 / 1000 for r in requests])
        action = (shares.cumsum(1) < ticket[:, None]).sum(1).clamp(max=3)
        reward = (action == place).float()
        self.baseline = 0.9 * self.baseline + 0.1 * reward.mean()
        return {"place": place, "action": action, "reward": reward, "advantage": reward - self.baseline}

    def state(self):
        return {"baseline": self.baseline}

    def load_state(self, state):
        self.baseline = state["baseline"].clone()


def policy(seed=0):
    """Four places, four actions; the reward is for the action that has the place's number."""
    torch.manual_seed(seed)
    family = dataclasses.replace(ALL["toy-vae"], blocks=lambda net: [])
    model = fresh("toy-vae")
    return dataclasses.replace(model, family=family, net=torch.nn.Embedding(4, 4))


def test_rollouts_raise_the_reward_and_go_on_where_they_were(tmp_path):
    def reinforce(folder, model, watches=()):
        config = settings(80, optimizer={"learning_rate": 0.1, "weight_decay": 0.0}, batch_size=32)
        fit(model, Rollouts(model), Reinforce(), config, seed=0, folder=folder, watches=watches)
        return model, read_metrics(folder / "metrics.jsonl")

    model, lines = reinforce(tmp_path / "whole", policy())
    assert lines[0]["reward"] < 0.5
    assert sum(line["reward"] for line in lines[-10:]) / 10 > 0.8
    for at in (7, 23):
        with pytest.raises(Killed):
            reinforce(tmp_path / "killed", policy(), [killer(at)])
    again, resumed = reinforce(tmp_path / "killed", policy(seed=1))
    assert losses(resumed) == losses(lines)
    assert equal_weights(again, model)


def test_an_engine_inside_a_source_leaves_the_training_mode_alone():
    model = fresh("toy-vae")
    model.net.train()
    Engine(model).generate([Request(seed=1)])
    assert model.net.training
