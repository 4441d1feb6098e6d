"""The watch over rewarded pictures: what it measures, what it keeps, when it stops."""

import dataclasses

import pytest
import torch

from makar.align.config import RolloutConfig
from makar.align.picture_watch import HeldOut, PictureLook, look_at_pictures, straying
from makar.align.pictures import made
from makar.core.random import key_of
from makar.measure.frechet import frechet_distance
from tests.align.painters import light, painter, rewarded
from tests.align.support import frozen

torch.set_num_threads(1)
REWARDS = [rewarded(light, "light", 2.0)]


def held(model, **more):
    settings = model.family.settings.model_validate(model.generation)
    real = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = {"prompts": [0, 1] * 3, "real": real, "see": lambda images: images.flatten(2).mean(2), "seed": 4}
    return HeldOut(settings=settings, **plain | more)


def test_a_look_is_of_held_out_seeds_and_known_measures():
    model = painter()
    asked = held(model)
    found = look_at_pictures(model, asked, REWARDS)
    seeds = [key_of(4, "held out", place) >> 1 for place in range(6)]
    images = made(model, asked.prompts, seeds, asked.settings)
    assert found.rewards["light"] == pytest.approx(float(light(images).mean()), rel=1e-5)
    assert found.reward == pytest.approx(2 * found.rewards["light"], rel=1e-5)
    wanted = frechet_distance(asked.see(images), asked.see(asked.real))
    assert found.distance == pytest.approx(wanted, rel=1e-5)
    other = look_at_pictures(model, dataclasses.replace(asked, seed=5), REWARDS)
    assert other.reward != found.reward


def test_a_model_that_is_its_reference_is_no_better_and_goes_on():
    model = painter()
    verdict = straying(held(model), REWARDS, frozen(model), RolloutConfig())(3, model)
    assert verdict.action == "go"
    assert verdict.score == -verdict.logs["reward"] == -verdict.logs["reward_before"]
    assert verdict.logs["distance"] == verdict.logs["distance_before"]
    assert "no better than at first" in verdict.note


@pytest.mark.parametrize(("distance", "action"), [(1.1, "go"), (1.11, "stop"), (0.5, "go")])
def test_it_stops_where_the_distance_rose_beyond_the_bound(monkeypatch, distance, action):
    looks = iter([PictureLook({"light": 0.1}, 0.1, 1.0), PictureLook({"light": 0.9}, 0.9, distance)])
    monkeypatch.setattr("makar.align.picture_watch.look_at_pictures", lambda *_: next(looks))
    model = painter()
    verdict = straying(held(model), REWARDS, frozen(model), RolloutConfig())(3, model)
    assert verdict.action == action
    assert verdict.score == (None if action == "stop" else -0.9)
    assert "no better" not in verdict.note
