"""Alignment of models of pictures as a recipe says it: rewards, choices, what is refused."""

import json

import pytest
import torch
from PIL import Image

from makar.align.choices import Choice, add_choice, now, picture_text, snapshot
from makar.align.pictures import DrawnLevel
from makar.core.errors import InputError, ModelError, RecipeError
from makar.core.nouns import Model
from makar.core.random import Rng
from makar.data.pictures import to_png
from makar.data.scene_words import heard
from makar.engine.load import open_model
from makar.families.diffusion import words
from makar.families.table import family
from makar.nets.gan_config import R3ganConfig
from makar.recipes import alignment_pictures, picture_judges
from makar.recipes.alignment_pictures import told_columns
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.picture_judges import Stage
from makar.recipes.plan import plan
from makar.recipes.run import Run
from makar.train.metrics import read_metrics
from tests.align.painters import DIT, painter

RECIPE = """
init = "{init}"

[data]
sources = ["{folder}"]
rows = "image"
collect = {{ valid_fraction = 0.2, pictures = {{ near = 0 }} }}

[objective]
name = "dpo"

[reward]
brightness = 1.0

[rollouts]
group = 3
batches = 2
max_distance_rise = 1e9

[train]
steps = 4
batch_size = 4
compile = "off"
checkpoint_steps = 1
optimizer = {{ learning_rate = 0.003, weight_decay = 0.0 }}

[watch]
validate_every = 2
validate_rows = 8
"""


pytestmark = pytest.mark.usefixtures("hasty_judges")


def kept(model, place):
    place.mkdir()
    model.family.folder.save(model, place)
    return place


@pytest.fixture
def init(tmp_path):
    return kept(painter(steps=2), tmp_path / "painter")


def generator(place):
    config = family("gan").tiny()[0]
    assert isinstance(config.net, R3ganConfig)
    torch.manual_seed(0)
    return kept(Model(family("gan"), config, family("gan").build(config)), place)


@pytest.fixture
def file(tmp_path, shades, init):
    """Load the recipe, changed at will."""

    def load(*sets, name="light", init=init, text=RECIPE):
        path = tmp_path / f"{name}.toml"
        path.write_text(text.format(folder=shades, init=init))
        return load_recipe(path, sets)

    return load


def test_a_recipe_aligns_a_diffusion_model_by_a_reward(file, workspace):
    said = []
    (result,) = train(file(), workspace, say=said.append)
    run = result.run
    manifest = run.manifest
    assert manifest["rewards"] == ["brightness"]
    assert manifest["prompts"] == {"train": 2, "held_out": 8}
    assert list(manifest["parent"])
    looks = read_metrics(run.metrics, "watch")
    held = [line for line in looks if line["watch"] == "held_out"]
    assert {"reward", "reward_before", "distance", "distance_before", "reward/brightness"} <= held[0].keys()
    lines = read_metrics(run.metrics, "train")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3), "it begins at its reference"
    assert lines[-1]["best_reward"] > lines[-1]["reward"]
    assert len(read_metrics(run.metrics, "rollout")) == 2
    assert open_model(run.folder).config.classes == ("bright", "dark")
    assert any("Fréchet distance" in line for line in said)
    assert list(run.samples.glob("*.png"))
    assert plan(file(name="other"), "other", workspace).memory["reference"] > 0


def test_the_same_class_score_judges_what_was_asked(file, workspace):
    sets = ["reward={class=1.0}", "objective.name=simpo", "train.steps=1"]
    (result,) = train(file(*sets), workspace)
    (first,) = read_metrics(result.run.metrics, "train")
    assert first["reward/class"] < 0


def test_an_adapter_is_compared_with_the_model_without_it(file, workspace, tmp_path):
    init = kept(painter(net=DIT, steps=2), tmp_path / "dit")
    (result,) = train(file("adapter={rank=2}", init=init), workspace)
    lines = read_metrics(result.run.metrics, "train")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert lines[-1]["margin"] != 0
    assert (result.run.model / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("name", ["diffusion", "gan"])
def test_a_recipe_climbs_a_reward(file, workspace, tmp_path, name):
    init = generator(tmp_path / "gan") if name == "gan" else tmp_path / "painter"
    sets = ["objective={name='direct', options={pull=0.5}}", "rollouts.batches=1"]
    (result,) = train(file(*sets, init=init), workspace)
    (first, *_) = read_metrics(result.run.metrics, "train")
    prefix = "generator/" if name == "gan" else ""
    assert first[f"{prefix}reward/brightness"] == first[f"{prefix}reward"]
    assert first[f"{prefix}pull"] == pytest.approx(0, abs=1e-6)
    assert result.run.finished


def test_a_run_whose_pictures_leave_the_real_ones_is_stopped(file, workspace, monkeypatch):
    found, said = iter([1.0, 1.05, 1.2]), []
    monkeypatch.setattr("makar.align.picture_watch.frechet_distance", lambda *_: next(found))
    (result,) = train(file("rollouts.max_distance_rise=0.1", "watch.validate_every=1"), workspace, say=said.append)
    assert result.outcome.step == 2
    assert result.run.manifest["outcome"]["weights_of_step"] == 1
    assert any("pictures leave the real ones" in line for line in said)


def test_people_choose_between_pictures(file, workspace, tmp_path):
    store = tmp_path / "choices.jsonl"
    for number in range(12):
        light, dark = (to_png(Image.new("L", (8, 8), value + number)) for value in (200, 20))
        choice = Choice(
            prompt="bright", chosen=picture_text(light), rejected=picture_text(dark), chosen_seed=1, rejected_seed=2,
            shown_first="chosen", who="ann", when=now(), model="m", weights="w",
        )  # fmt: skip
        add_choice(store, choice)
    bright_ones = f"reward={{people={{path='{store}'}}}}"
    (liked,) = train(file(bright_ones, "rollouts.batches=1", "train.steps=1", name="liked"), workspace)
    (line,) = read_metrics(liked.run.metrics, "train")
    assert line["best_reward"] > line["reward"] == line["reward/people"]
    snapped = snapshot(store, tmp_path)
    names = family("diffusion")
    named = painter(steps=2)
    named = Model(names, named.config.model_copy(update={"classes": ("bright", "dark")}), named.net, {}, {"steps": 2})
    folder = tmp_path / "named"
    folder.mkdir()
    names.folder.save(named, folder)
    sets = [
        f"data={{sources=['{snapped}'], rows='preference', collect={{valid_fraction=0.2, min_chars=1}}}}",
        "train.steps=6", "watch.validate_rows=4",
    ]  # fmt: skip
    text = RECIPE.replace("[reward]\nbrightness = 1.0\n", "").split("[rollouts]")
    text = text[0] + "[train]" + text[1].split("[train]")[1]
    (result,) = train(file(*sets, init=folder, text=text), workspace)
    lines = read_metrics(result.run.metrics, "train")
    assert lines[-1]["margin"] > lines[0]["margin"]
    wrong = text.replace("{init}", str(tmp_path / "painter"))
    with pytest.raises(InputError, match="the model knows no such class.*'bright'"):
        train(file(*sets, name="wrong", text=wrong), workspace)


@pytest.mark.parametrize(
    ("sets", "error", "words"),
    [
        (["reward={brigthness=1.0}"], RecipeError, "did you mean 'brightness'"),
        (["reward={colour={name='red'}}"], InputError, "a grey picture has no colour"),
        (["reward={class={name='dim'}}"], InputError, "no such class"),
        (["reward={python={function='nan:score'}}"], InputError, r"nan.py:score, row \d+: the reward gave nan"),
        (["reward={people={path='nowhere.jsonl'}}"], InputError, "choices cannot be read"),
        (["objective.name=kto"], RecipeError, "data.rows = 'judged'"),
        (["objective.name=direct", "objective.options.pull=-1.0"], RecipeError, "option 'pull'"),
        (["objective.name=direct", "objective.options.last_steps=9"], RecipeError, "give 1 to 2"),
        (["objective.options.beta=0.0"], RecipeError, "option 'beta'"),
    ],
)
def test_what_does_not_fit_is_said(file, workspace, tmp_path, sets, error, words):
    (tmp_path / "nan.py").write_text("def score(images, prompts):\n    return [float('nan')] * len(prompts)\n")
    with pytest.raises(error, match=words):
        train(file(*sets), workspace)


def test_rewards_are_needed_and_a_likelihood(file, workspace, tmp_path):
    without = RECIPE.replace("[reward]\nbrightness = 1.0\n", "")
    with pytest.raises(RecipeError, match=r"add \[reward\]"):
        file(text=without)
    with pytest.raises(ModelError, match="cannot say how likely"):
        train(file(init=generator(tmp_path / "gan")), workspace)


def test_a_model_of_language_makes_no_pictures(file, workspace, speaker):
    with pytest.raises(RecipeError, match="this model makes no pictures"):
        train(file("data.length=16", init=speaker), workspace)


TOLD = """
init = "{draw}"
data = {{ sources = ["{emoji}"], rows = "scenes" }}
objective = {{ name = "dpo" }}
reward = {{ clip = {{ path = "{clip}" }} }}
rollouts = {{ group = 2 }}
train = {{ steps = 2, batch_size = 2, compile = "off" }}
watch = {{ validate_rows = 4, judged = 2, prompts = ["a cat in space"] }}
"""


@pytest.mark.parametrize("name", ["dpo", "direct"])
def test_a_model_that_is_told_texts_learns_from_clip(scenes, workspace, tmp_path, name):
    path = tmp_path / "told.toml"
    path.write_text(TOLD.format(**scenes))
    (result,) = train(load_recipe(path, [f"objective.name={name}"]), workspace)
    lines = read_metrics(result.run.metrics, "train")
    assert -1 <= lines[0]["reward/clip"] <= 1
    looks = {line["watch"]: line for line in read_metrics(result.run.metrics, "watch")}
    assert {"seen", "unseen", "well_formed"} <= looks["attributes"].keys()
    assert looks["held_out"]["distance_before"] > 0
    assert str(scenes["clip"]) in result.run.manifest["parent"]
    assert "text" in open_model(result.run.folder).parts


def test_a_second_judge_of_scenes_rewards_what_was_asked(scenes, workspace, tmp_path, monkeypatch):
    path, real, rewarding = tmp_path / "told.toml", picture_judges.verdict_of, []
    path.write_text(TOLD.format(**scenes))
    monkeypatch.setattr(picture_judges, "verdict_of", lambda judge: rewarding.append(judge) or real(judge))
    monkeypatch.setattr(picture_judges, "told_scene", told := Told())
    monkeypatch.setattr(alignment_pictures, "told_scene", told)
    (result,) = train(load_recipe(path, ["reward={scene=1.0}", "objective.name=direct"]), workspace)
    lines = read_metrics(result.run.metrics, "train")
    assert lines[0]["reward/scene"] < 0
    assert told.left_out, "a prompt that asks for no scene is none to learn from"
    (judge,) = rewarding
    first = picture_judges.judge_of(None, print)
    assert not all(map(torch.equal, judge.net.state_dict().values(), first.net.state_dict().values()))


class Told:
    """What prompts ask for; the first that it is shown, nothing."""

    def __init__(self):
        self.left_out = None

    def __call__(self, prompt):
        self.left_out = self.left_out or prompt
        return None if prompt == self.left_out else heard(prompt)


def test_a_model_that_is_told_nothing_has_no_scene_to_be_rewarded_for(scenes, workspace, tmp_path, monkeypatch):
    path = tmp_path / "told.toml"
    path.write_text(TOLD.format(**scenes))
    monkeypatch.setattr(alignment_pictures, "told_scene", lambda prompt: None)
    with pytest.raises(RecipeError, match="no prompt asks for a scene"):
        train(load_recipe(path, ["reward={scene=1.0}"]), workspace)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["reward={clip={path='{draw}'}}"], "it is no CLIP"),
        (["reward={class=1.0}"], "no classes to tell apart"),
        (["data.rows=image"], r'set data.rows = "captioned" or "scenes"'),
        (["data.rows=image", "watch.judged=2"], "only scenes are judged"),
    ],
)
def test_what_does_not_fit_a_model_that_is_told_texts_is_said(scenes, shades, workspace, tmp_path, sets, words):
    path = tmp_path / "told.toml"
    path.write_text(TOLD.format(**scenes))
    sets = [each.replace("{draw}", str(scenes["draw"])) for each in sets]
    if "data.rows=image" in sets:
        collect = "data.collect={valid_fraction=0.2, pictures={near=0}}"
        sets += [f"data.sources=['{shades}']", collect, *(["watch.judged=0"] if len(sets) == 1 else [])]
    with pytest.raises(RecipeError, match=words):
        train(load_recipe(path, sets), workspace)


AWKWARD = {
    "long": "a cat in space " * 40,
    "blank": " ",
    "unknown": "☃☃",
    "weighed": "a dog (view: west)",
    "plain": "a cat wearing sunglasses in space",
}


@pytest.fixture
def awkward(tmp_path):
    """Pictures whose captions are each awkward in a way."""
    folder = tmp_path / "awkward"
    folder.mkdir()
    rows: list[str] = []
    for number in range(40):
        Image.new("RGB", (32, 32), (6 * number, 90, 200 - 3 * number)).save(folder / f"{number}.png")
        text = list(AWKWARD.values())[number % len(AWKWARD)]
        rows.append(json.dumps({"file_name": f"{number}.png", "text": text}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(rows))
    return folder


@pytest.mark.parametrize("name", ["dpo", "direct"])
def test_captions_of_a_dataset_that_no_prompt_would_be_are_drawn_from_or_left_out(
    scenes, awkward, workspace, tmp_path, name
):
    path, said = tmp_path / "told.toml", list[str]()
    path.write_text(TOLD.format(**scenes))
    collect = "{valid_fraction=0.25, test_fraction=0.0, pictures={near=0}}"
    data = f"data={{sources=['{awkward}'], rows='captioned', collect={collect}}}"
    sets = [f"objective.name={name}", data, "watch.judged=0", "watch.validate_rows=10", "train.steps=3"]
    (result,) = train(load_recipe(path, sets), workspace, say=said.append)
    assert any("captions of the train split are blank or unknown: left out" in line for line in said)
    assert any("captions of the train split are longer than the tower reads: cut" in line for line in said)
    assert result.outcome.step == 3
    prompts = result.run.manifest["prompts"]
    assert 0 < prompts["held_out"] <= 10 < prompts["train"] < 30


def test_what_people_chose_is_learned_as_it_was_drawn(scenes, workspace, tmp_path):
    """Words that weighed more in the prompt weigh more again; no text at all is the empty one."""
    model = open_model(scenes["draw"])
    (tmp_path / "told.toml").write_text(TOLD.format(**scenes))
    (recipe,) = load_recipe(tmp_path / "told.toml").stages.values()
    stage = Stage(recipe, model, model.config, Run(tmp_path), workspace, 1, print)
    told = told_columns(stage, ["a (cat:2)", ""])
    drawn = words.captions_of(model, ["a (cat:2)", None])
    assert torch.equal(told["told"], drawn.tokens)
    assert torch.equal(told["pooled"], drawn.pooled)
    batch = {"images": torch.zeros(2, 3, 32, 32), **told}
    assert DrawnLevel()(model, batch, Rng(0, 0, torch.arange(2)))[0].isfinite().all()
