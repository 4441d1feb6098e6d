"""Recipes of captioned pictures and of scenes: the rows that they make, and what they refuse."""

import json

import pytest
import torch
from PIL import Image

from makar.codecs.captions import train_captions
from makar.core.errors import RecipeError, UserError
from makar.data.config import Augment
from makar.data.scenes import scene_seed
from makar.recipes import captioned as captioned_module
from makar.recipes.assemble import assemble
from makar.recipes.captioned import captioned_rows, captions_of
from makar.recipes.load import load_recipe
from makar.recipes.recipe import DataConfig
from makar.recipes.run import Workspace
from tests.emoji import draw_set

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "white": (210, 250, 250)}


def encode(texts):
    """The first letters, as tokens."""
    return torch.tensor([[ord(letter) for letter in text[:4].ljust(4)] for text in texts])


@pytest.fixture
def emoji(tmp_path):
    return draw_set(tmp_path / "emoji")


@pytest.fixture
def captioned(tmp_path):
    """Forty plain pictures, every fifth without a caption."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = []
    for number in range(40):
        name, (red, green, blue) = list(COLOURS.items())[number % 4]
        Image.new("RGB", (16, 16), (red + number, green, blue)).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png"} | ({"text": f"{name} number {number}"} if number % 5 else {}))
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    collect = {"valid_fraction": 0.2, "test_fraction": 0.0, "pictures": {"near": 0}}
    return DataConfig(sources=(str(folder),), rows="captioned", collect=collect)


def rows_of(data, tmp_path, reads=encode, size=16, channels=3, **more):
    said = []
    rows = captioned_rows(data, reads, size, channels, seed=1, workspace=Workspace(tmp_path), say=said.append, **more)
    return rows, said


def test_pictures_come_with_what_is_said_of_them(captioned, tmp_path):
    rows, said = rows_of(captioned, tmp_path)
    batch = rows.train.batch(0, 12)
    names = {tuple(encode([name])[0].tolist()): colour for name, colour in COLOURS.items()}
    for image, tokens in zip(batch["images"], batch["tokens"], strict=True):
        shown, told = ((image[:, 0, 0] + 1) * 127.5).tolist(), names[tuple(tokens.tolist())]
        assert shown[1:] == pytest.approx(told[1:], abs=1)
    assert any("have no caption" in line for line in said)
    assert rows.facts["pictures"]["train"] + rows.facts["pictures"]["valid"] == 32
    again, _ = rows_of(captioned, tmp_path)
    assert torch.equal(again.train.batch(0, 12)["tokens"], batch["tokens"])
    assert again.identity == rows.identity


def test_captions_that_are_cut_or_unknown_are_counted_and_blank_ones_left_out(captioned, tmp_path):
    folder = tmp_path / "pictures"
    texts = [" ", "☃" * 3, "red " * 30, "a red one"]
    rows = [{"file_name": f"{number}.png", "text": texts[number % 4]} for number in range(40)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    codec = train_captions(["a red one"] * 4, 540, 12)
    found, said = rows_of(captioned, tmp_path, reads=codec.rows, refuse=codec.ids)
    count = found.facts["pictures"]["train"] + found.facts["pictures"]["valid"]
    assert count == 30
    assert any("the caption is too long; they are learned" in line for line in said)
    assert any("nothing in the caption is known to the model; they are learned" in line for line in said)
    assert any("have no caption" in line for line in said)


def test_a_tokenizer_learns_from_the_captions_to_train_on(captioned, tmp_path):
    rows, _ = rows_of(captioned, tmp_path)
    texts = list(captions_of(captioned, seed=0, workspace=Workspace(tmp_path), say=print))
    assert len(texts) == rows.facts["pictures"]["train"]
    assert all("number" in text for text in texts)


def test_pictures_without_any_caption_are_refused(tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (16, 16), (20 * number, 0, 9)).save(folder / f"{number}.png")
    collect = {"valid_fraction": 0.3, "test_fraction": 0.0, "pictures": {"near": 0}}
    with pytest.raises(UserError, match="give them captions"):
        rows_of(DataConfig(sources=(str(folder),), rows="captioned", collect=collect), tmp_path)


def test_left_and_right_are_not_mirrored_under_a_caption(captioned, tmp_path):
    mirrored = captioned.model_copy(update={"augment": Augment(flip=True)})
    with pytest.raises(RecipeError, match=r"data.augment: captioned pictures are not mirrored"):
        rows_of(mirrored, tmp_path)
    rows_of(mirrored, tmp_path, reads=None)


def test_scenes_are_rows_and_those_of_the_validation_are_others(emoji, tmp_path):
    data = DataConfig(sources=(str(emoji),), rows="scenes")
    rows, said = rows_of(data, tmp_path, size=32)
    train, valid = rows.train.batch(0, 4), rows.valid.batch(0, 4)
    assert train["images"].shape == (4, 3, 32, 32)
    assert train["tokens"].shape == (4, 4)
    assert not torch.equal(train["images"], valid["images"])
    assert scene_seed(1, "train") != scene_seed(1, "valid") != scene_seed(2, "valid")
    assert any("without end" in line for line in said)
    assert rows.facts["data"]["sources"][0]["sha256"]
    texts = captions_of(data, seed=1, workspace=Workspace(tmp_path), say=print)
    assert {type(next(texts)) for _ in range(20)} == {str}


def test_siblings_are_drawn_in_training_and_in_validation(emoji, tmp_path):
    rows, _ = rows_of(DataConfig(sources=(str(emoji),), rows="scenes", siblings=4), tmp_path, size=32)
    for source in (rows.train, rows.valid):
        assert source.scenes.siblings == 4
    with pytest.raises(ValueError, match=r"rows = 'scenes', or leave siblings out \(got 2\)"):
        DataConfig(sources=(str(emoji),), rows="captioned", siblings=2)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"channels": 1}, "scenes are in colour"),
        ({"size": 16}, "32 to 128 pixels"),
        ({"size": 256}, "32 to 128 pixels"),
        ({"codec": "no codec"}, "parts.codec: this model makes no latents"),
    ],
)
def test_scenes_that_cannot_be_drawn_are_refused(emoji, tmp_path, changes, match):
    with pytest.raises(RecipeError, match=match):
        rows_of(DataConfig(sources=(str(emoji),), rows="scenes"), tmp_path, **{"size": 32, **changes})


def test_scenes_are_composed_of_one_emoji_set(emoji, tmp_path):
    with pytest.raises(RecipeError, match=r"data: scenes are composed of one emoji set .*npm:emoji"):
        rows_of(DataConfig(sources=(str(emoji), str(emoji)), rows="scenes"), tmp_path, size=32)
    with pytest.raises(RecipeError, match="one emoji set"):
        rows_of(DataConfig(dataset=str(emoji), rows="scenes"), tmp_path, size=32)


PAINTER = """
[data]
sources = ["{emoji}"]
rows = "scenes"
[model]
family = "diffusion"
[model.net]
kind = "unet"
sample_size = 32
in_channels = 3
block_out_channels = [8]
down_block_types = ["DownBlock2D"]
layers_per_block = 1
add_attention = false
[train]
steps = 2
batch_size = 2
[sample]
steps = 1
"""

TOWERS = """
[data]
sources = ["{emoji}"]
rows = "scenes"
[model]
family = "clip"
vision = {{ hidden_size = 32, num_hidden_layers = 1, patch_size = 16 }}
text = {{ hidden_size = 32, num_hidden_layers = 1, vocab_size = 600 }}
[train]
steps = 2
batch_size = 4
"""


@pytest.fixture
def job(emoji, tmp_path, monkeypatch):
    """What a recipe becomes."""
    monkeypatch.setattr(captioned_module, "TOLD", 100)

    def made(text, *sets):
        (tmp_path / "one.toml").write_text(text.format(emoji=emoji))
        (recipe,) = load_recipe(tmp_path / "one.toml", sets).stages.values()
        workspace = Workspace(tmp_path)
        return assemble(recipe, workspace.run("one"), workspace)

    return made


def test_a_model_that_reads_nothing_learns_the_pictures_alone(job):
    assert set(job(PAINTER).source.batch(0, 2)) == {"images"}


def test_towers_learn_a_tokenizer_from_the_captions_and_pictures_with_them(job):
    made = job(TOWERS)
    batch = made.source.batch(0, 4)
    codec = made.model.parts["codec"]
    assert batch["tokens"].shape == (4, codec.length)
    assert made.identity["tokenizer"] == codec.hash
    _, caption, _ = made.source.scenes.row(0)
    assert codec.text(batch["tokens"][0].tolist()) == caption
    assert made.facts["data"]["notes"]


@pytest.mark.parametrize(
    ("recipe", "said", "match"),
    [
        (PAINTER, "watch.judged=4", r"watch.judged: only scenes are judged, of a model that is told texts"),
        (TOWERS, "data.rows='image'", r"family 'clip' learns other rows .*set data.rows='captioned'"),
        (PAINTER, "data.rows='text'", r"set data.rows='image'"),
        (PAINTER, "model.net.sample_size=16", "32 to 128 pixels"),
    ],
)
def test_rows_that_do_not_fit_the_family_are_refused(job, recipe, said, match):
    with pytest.raises(RecipeError, match=match):
        job(recipe, said)
