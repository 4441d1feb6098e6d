"""The suite of scenes: what is asked, what counts, and whether what is made was copied."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from makar.core.config import Config
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Chunk, Model
from makar.data.fetch import fetch
from makar.data.scene_drawing import draw, sprites_of
from makar.data.scenes import MISSION, Scenes, held_out, scene_seed
from makar.evaluate import judge, reliability, scenes
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.judge import ANSWERS, JUDGE, UNKNOWN, JudgeConfig, Verdicts, answers_to, build
from makar.evaluate.report import write_report
from makar.evaluate.run import evaluate
from makar.evaluate.scenes import PROMPT, Asked, copies_section, mission, requests_of
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.family import FAMILY as DIFFUSION
from makar.nets.image_config import UNetConfig
from makar.recipes.attributes import attribute_watch
from tests.emoji import draw_set


@pytest.fixture(scope="module")
def sprites(tmp_path_factory):
    return sprites_of(fetch(str(draw_set(tmp_path_factory.mktemp("emoji")))))


class Reader:
    """Stands for a text tower."""

    length = width = pooled_width = 4

    def hash(self):
        return "reader"

    def ids(self, texts):
        return torch.zeros(len(texts), 4, dtype=torch.int64)

    def rows(self, texts):
        return self.ids(texts)

    def features(self, ids):
        return torch.zeros(len(ids), 4, 4), torch.zeros(len(ids), 4)

    def save(self, folder):
        """Nothing."""


class Draws:
    """Draws what each prompt asks for, as far as a list of requests knows it; the first of them for all others."""

    def __init__(self, sprites, known, wrong=()):
        self.sprites, self.known, self.wrong = sprites, known, wrong
        self.prompts = list(known)

    def start(self, model, requests):
        places = [self.prompts.index(request.prompt) for request in requests]
        return {"place": torch.tensor(places), "seed": torch.tensor([request.seed for request in requests])}

    def step(self, model, state):
        made = []
        for row, (place, seed) in enumerate(zip(state["place"].tolist(), state["seed"].tolist(), strict=True)):
            scene = self.known[self.prompts[place]]
            scene = replace(scene, subject="owl" if scene.subject != "owl" else "cat") if seed in self.wrong else scene
            picture = draw(scene, 1000 + seed, self.sprites, 32)
            made.append(Chunk(row, Image.fromarray(picture.transpose(1, 2, 0)), done=True, reason="stop"))
        return state, made


def painter(sampler, **parts):
    torch.manual_seed(0)
    net = UNetConfig(
        sample_size=32, in_channels=3, block_out_channels=(8,), layers_per_block=1, down_block_types=("DownBlock2D",),
        add_attention=False,
    )  # fmt: skip
    config = DiffusionConfig(net=net)
    return Model(replace(DIFFUSION, sampler=sampler), config, DIFFUSION.build(config), parts, generation={"steps": 1})


@pytest.fixture
def seeing(monkeypatch, sprites):
    """A judge that knows every picture that was drawn here, and a suite of a few pictures."""
    memory = {}
    real = scenes.draw

    def noted(scene, index, art, size):
        picture = real(scene, index, art, size)
        memory[picture.tobytes()] = scene
        return picture

    def told(model, pictures):  # noqa: ARG001
        answers = [answers_to(memory[picture.numpy().tobytes()]) for picture in pictures]
        said = {name: torch.tensor([max(0, each[name]) for each in answers]) for name in ANSWERS}
        return Verdicts(said, torch.zeros(len(pictures)))

    config = JudgeConfig()
    net = Model(JUDGE, config, build(config).eval())
    for module in (scenes, reliability):
        monkeypatch.setattr(module, "draw", noted)
        monkeypatch.setattr(module, "judged", told, raising=False)
    monkeypatch.setitem(globals(), "draw", noted)
    monkeypatch.setattr(reliability, "FRESH", 8)
    monkeypatch.setattr(reliability, "FAULTS", {})
    monkeypatch.setattr(scenes, "judge_of", lambda art, say: net)  # noqa: ARG005
    monkeypatch.setattr(scenes, "sprites_of", lambda fetched: sprites)  # noqa: ARG005
    monkeypatch.setattr(scenes, "fetch", lambda name: name)
    monkeypatch.setattr(scenes, "SEEDS", 4)
    monkeypatch.setattr(scenes, "LOOKED_AMONG", 20)
    monkeypatch.setattr(scenes, "BLOCK", 10)
    return told


@pytest.mark.parametrize("part", ["seen", "triple", "pair"])
def test_requests_are_of_their_part_and_say_what_they_want(part):
    found = requests_of(part, 60, seed=9)
    assert found == requests_of(part, 60, seed=9)
    for each in found:
        assert held_out(each.scene) == part
        assert each.scene.sign is None
        colour = each.wanted["colour"]
        assert (colour != UNKNOWN) == (f" {ANSWERS['colour'][colour]} " in each.prompt)
        assert (each.wanted["accessory"] != UNKNOWN) == (each.scene.accessory is not None)
        assert min(each.wanted[name] for name in ("subject", "place", "count")) >= 0
    assert 0 < sum(each.wanted["colour"] == UNKNOWN for each in found) < 60


def test_the_mission_wants_a_cat_with_sunglasses_in_space_and_leaves_the_rest_open():
    each, *rest = mission(3)
    assert (each.prompt, len(rest)) == (PROMPT, 2)
    wanted = {name: ANSWERS[name][answer] for name, answer in each.wanted.items() if answer != UNKNOWN}
    assert wanted == dict(zip(("subject", "accessory", "place"), MISSION, strict=True)) | {"count": 1}
    assert each.prompt.lower() == "a cat wearing sunglasses in space"


def test_a_model_that_draws_what_is_asked_is_right_throughout(seeing, sprites, tmp_path):
    seed = scene_seed(0, "asked")
    asked = [each for part in ("seen", "triple", "pair") for each in requests_of(part, 6, seed)] + mission(1)
    known = {each.prompt: each.scene for each in asked}
    options = EvaluateOptions(samples=6, suites=("scenes",))
    report = evaluate(painter(Draws(sprites, known), text=Reader()), None, options)
    for whose in ("seen", "unseen triples", "unseen pairs", "mission", "fresh scenes"):
        for name in ("subject", "place", "attributes", "well_formed", "all"):
            assert report.value("scenes", name, whose) == 1
    assert report.value("scenes", "all_error", "seen") == 0
    assert report.value("scenes", "pictures", "mission") == 4
    assert report.value("judge", "all", "right") == 1
    assert report.value("judge", "all", "passes another") == 0
    for whose in ("seen", "unseen triples", "unseen pairs", "fresh scenes"):
        assert report.value("copies", "pictures", whose) == 6
    write_report(report, tmp_path, "evaluation-scenes")
    assert (tmp_path / "evaluation-mission.png").is_file()

    wrong = evaluate(painter(Draws(sprites, known, wrong=(0, 1, 2)), text=Reader()), None, options)
    assert wrong.value("scenes", "subject", "seen") == wrong.value("scenes", "all", "seen") == 0.5
    assert wrong.value("scenes", "all_error", "seen") == pytest.approx((0.25 / 6) ** 0.5)
    assert wrong.value("scenes", "place", "seen") == 1


def test_pictures_of_the_training_stream_are_found_to_be_copies(sprites, monkeypatch):
    monkeypatch.setattr(scenes, "LOOKED_AMONG", 60)
    monkeypatch.setattr(scenes, "BLOCK", 20)
    training, others = Scenes(sprites, 32, seed=1), Scenes(sprites, 32, seed=2)

    def rows(stream):
        return torch.from_numpy(np.stack([stream.row(place)[0] for place in range(30)]))

    copied = copies_section({"seen": rows(training)}, rows(others), training, 600).figures
    assert copied["learned"].values == {"looked among": 60, "learned from": 600}
    assert copied["as_near_as_copies"].values["seen"] == 1
    assert copied["nearer"].values["seen"] == 1
    assert copied["median"].values["seen"] == 0
    made = {"seen": rows(Scenes(sprites, 32, seed=3)), "unseen triples": rows(training)}
    fresh = copies_section(made, rows(others), training, 30).figures
    assert fresh["as_near_as_copies"].values["seen"] < 0.2
    assert fresh["as_near_as_copies"].values["unseen triples"] == 1
    assert 0.2 < fresh["nearer"].values["seen"] < 0.8
    siblings = Scenes(sprites, 32, seed=1, siblings=3)
    assert copies_section({"seen": rows(siblings)}, rows(others), siblings, 30).figures["median"].values["seen"] == 0
    assert copies_section({"seen": rows(siblings)}, rows(others), training, 30).figures["median"].values["seen"] > 0


def test_what_makes_no_pictures_of_texts_is_refused():
    options = EvaluateOptions(suites=("scenes",))
    with pytest.raises(ModelError, match=r"makes no pictures of texts .*parts = \{text"):
        evaluate(painter(Draws(None, {})), None, options)
    with pytest.raises(InputError, match="run them one by one"):
        evaluate(painter(Draws(None, {}), text=Reader()), None, EvaluateOptions(suites=("scenes", "fidelity")))


def test_a_watch_says_how_often_each_attribute_is_as_asked(seeing, sprites, monkeypatch):
    monkeypatch.setattr("makar.recipes.attributes.judged", seeing)
    monkeypatch.setattr("makar.recipes.attributes.judge_of", lambda art, say: None)  # noqa: ARG005
    stream = scene_seed(3, "watched")
    known = {each.prompt: each.scene for part in ("seen", "triple") for each in requests_of(part, 4, stream)}
    look = attribute_watch(sprites, Config(), pictures=8, seed=3, say=print)
    verdict = look(10, painter(Draws(sprites, known, wrong=(3 + 5,)), text=Reader()))
    assert verdict.logs["seen"] == verdict.logs["place"] == 1
    assert verdict.logs["unseen"] == 0.75
    assert verdict.logs["subject"] == 7 / 8
    assert "subject 88%" in verdict.note
    assert verdict.score is None


def test_requests_are_made_for_nothing_that_a_judge_cannot_say():
    assert isinstance(mission(1)[0], Asked)
    assert set(mission(1)[0].wanted) == set(judge.ANSWERS)
