"""A tower and a decoder become one model that sees: stages, frozen weights, refusals, and the same rows again."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from makar.core.errors import InputError, RecipeError
from makar.core.nouns import Request
from makar.data.chats import parts_in
from makar.data.dataset import Dataset
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.llava.family import FAMILY
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from tests.emoji import draw_set

CLIP = """
[data]
sources = ["{emoji}"]
rows = "scenes"
[model]
family = "clip"
vision = {{ hidden_size = 32, num_hidden_layers = 2, patch_size = 16 }}
text = {{ hidden_size = 32, num_hidden_layers = 1, vocab_size = 600 }}
[train]
steps = 1
batch_size = 4
compile = "off"
[watch]
validate_rows = 4
"""

SEER = """
[stages.words]
parts = {{ vision = "@clip" }}
[stages.words.data]
sources = ["{emoji}"]
rows = "scene-talks"
length = 64
[stages.words.model]
family = "llava"
vision = {{ hidden_size = 32, num_hidden_layers = 2, patch_size = 16 }}
text = {{ vocab_size = 400, hidden_size = 32, num_hidden_layers = 1, max_position_embeddings = 128 }}
[stages.words.train]
steps = 4
batch_size = 4
checkpoint_steps = 2
compile = "off"
[stages.words.watch]
validate_rows = 4
validate_every = 4
[stages.sight]
init = "@words"
[stages.sight.data]
sources = ["{emoji}"]
rows = "scene-talks"
length = 64
[stages.sight.train]
steps = 2
batch_size = 4
compile = "off"
[stages.sight.watch]
validate_rows = 4
"""


@pytest.fixture(scope="session")
def emoji(tmp_path_factory):
    return draw_set(tmp_path_factory.mktemp("emoji"))


@pytest.fixture
def recipe(workspace, emoji, monkeypatch):
    """A tower that was trained a step, and the stages that begin with it."""
    monkeypatch.setattr("makar.recipes.talks.LOOKED", 1)
    monkeypatch.setattr("makar.evaluate.sights.GREEDY", {"temperature": 0.0, "max_tokens": 2})
    monkeypatch.setattr("makar.recipes.talks.TOLD", 50)
    monkeypatch.setattr("makar.recipes.captioned.TOLD", 50)
    for name, text in (("clip", CLIP), ("seer", SEER)):
        (workspace.root / f"{name}.toml").write_text(text.format(emoji=emoji))
    train(load_recipe(workspace.root / "clip.toml"), workspace)

    def load(*sets):
        return load_recipe(workspace.root / "seer.toml", sets)

    return load


def test_a_fresh_decoder_learns_to_read_a_tower_and_then_both_learn(recipe, workspace):
    first, last = train(recipe(), workspace)
    tower = open_model(workspace.model("@clip")).net.vision_model.state_dict()
    early, late = open_model(first.run.model), open_model(last.run.model)
    assert early.family is FAMILY
    kept = early.net.vision_tower.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in tower.items())
    assert not torch.equal(late.net.vision_tower.state_dict()["encoder.layers.0.mlp.fc1.weight"],
                           tower["encoder.layers.0.mlp.fc1.weight"])  # fmt: skip
    lines = [json.loads(line) for line in first.run.metrics.read_text().splitlines()]
    looked = [line for line in lines if line.get("watch") == "sights"]
    assert {"seen/all", "triple/all", "triple/absent", "triple/absent_place"} <= looked[-1].keys()
    assert "seen: " in (first.run.samples / "step-00000004.txt").read_text()
    assert late.parts["codec"].chat_template is not None


def test_a_run_with_a_frozen_tower_goes_on_to_the_same_weights(recipe, workspace):
    file = recipe("stages.sight.train.steps=1")
    whole = train(file, workspace)[0].run
    weights = (whole.model / "model.safetensors").read_bytes()
    shutil.rmtree(whole.folder / "checkpoints" / "step-00000004")
    shutil.rmtree(whole.model)
    manifest = {name: value for name, value in whole.manifest.items() if name != "finished"}
    (whole.folder / "manifest.json").write_text(json.dumps(manifest))
    train(file, workspace)
    assert (whole.model / "model.safetensors").read_bytes() == weights


def test_the_second_stage_may_train_an_adapter_alone(recipe, workspace):
    first, last = train(recipe("stages.sight.adapter={rank=2}"), workspace)
    assert (last.run.model / "adapter_model.safetensors").is_file()
    assert (first.run.model / "model.safetensors").is_file()
    merged = open_model(last.run.model)
    assert merged.family is FAMILY
    picture = torch.zeros(3, 32, 32)
    settings = FAMILY.settings(temperature=0.0, max_tokens=2)
    assert Engine(merged).generate([Request({"text": "?", "image": picture}, 0, settings)])[0].info["ids"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.words.model.vision.hidden_size=64", "another hidden_size"),
        ("stages.words.model.vision.patch_size=8", "another patch_size"),
        ("stages.words.data.length=4", "no room for a picture"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_value_that_would(recipe, workspace, change, said):
    with pytest.raises(RecipeError, match=said) as fault:
        train(recipe(change), workspace)
    assert fault.value.fix


def test_a_family_that_sees_nothing_is_refused(recipe, workspace):
    text = "stages.words.model={family='language', vocab_size=400, hidden_size=32, num_hidden_layers=1}"
    with pytest.raises(RecipeError, match="sees no pictures"):
        train(recipe(text, "stages.words.parts={}"), workspace)


@pytest.fixture(scope="session")
def album(tmp_path_factory):
    """Conversations about two colours, one that cannot be read, and one in words alone."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("album")
    lines = []
    for number in range(24):
        colour = ("red", "blue")[number % 2]
        Image.new("RGB", (20, 12 + number), colour).save(folder / f"{number}.png")
        asked = [
            {"type": "image", "path": f"{number}.png"},
            {"type": "text", "text": f"which colour is number {number}?"},
        ]
        lines.append([{"role": "user", "content": asked}, {"role": "assistant", "content": colour}])
    missing = [{"type": "image_url", "image_url": {"url": "missing.png"}}, {"type": "text", "text": "which?"}]
    lines.append([{"role": "user", "content": missing}, {"role": "assistant", "content": "none"}])
    lines.append([{"role": "user", "content": "which colour is snow?"}, {"role": "assistant", "content": "white"}])
    text = "".join(json.dumps({"messages": each}) + "\n" for each in lines)
    (folder / "talks.jsonl").write_text(text)
    return folder / "talks.jsonl"


ALBUM = """
[data]
sources = ["{album}"]
rows = "talks"
length = 96
collect = {{ near = 1.0, min_chars = 0, valid_fraction = 0.2, test_fraction = 0.1 }}
[model]
family = "llava"
vision = {{ hidden_size = 32, num_hidden_layers = 2, patch_size = 16 }}
text = {{ vocab_size = 300, hidden_size = 32, num_hidden_layers = 1 }}
[train]
steps = 2
batch_size = 4
compile = "off"
[watch]
validate_rows = 4
"""


def test_ones_own_conversations_are_learned_with_their_pictures(workspace, album, monkeypatch):
    monkeypatch.setattr("makar.recipes.talks.GREEDY", {"temperature": 0.0, "max_tokens": 2})
    (workspace.root / "album.toml").write_text(ALBUM.format(album=album))
    lines = []
    (result,) = train(load_recipe(workspace.root / "album.toml"), workspace, say=lines.append)
    assert any("a conversation's picture: cannot be read: No such file" in line for line in lines)
    data = Dataset.open(Path(result.run.manifest["data"]["folder"]))
    assert data.manifest.kind == "talks"
    kept = [json.loads(text) for split in ("train", "valid", "test") for text in data.texts(split)]
    assert len(kept) == 25
    held = [part["url"] for each in kept for part in parts_in(each["messages"][0]) if part["type"] == "image"]
    assert len(set(held)) == 24
    assert all(url.startswith("data:image/png;base64,") for url in held)
    assert "colour" in (result.run.samples / "step-00000002.txt").read_text()


def test_rows_that_are_too_short_are_refused_with_the_length_that_is_not(workspace, album):
    (workspace.root / "album.toml").write_text(ALBUM.format(album=album))
    with pytest.raises(InputError, match="does not fit into rows of 9") as fault:
        train(load_recipe(workspace.root / "album.toml", ["data.length=9"]), workspace)
    assert "set data.length=" in str(fault.value.fix)
