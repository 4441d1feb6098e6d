"""Pictures from the command line: written with what made them, and refused where they cannot be."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from makar.app import api
from makar.app.api.models import requests
from makar.app.pictures import opened
from makar.core.errors import InputError
from makar.core.nouns import Model
from makar.families.clip.text import text_of
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.family import FAMILY
from makar.recipes.provenance import ROWS

NET = {
    "kind": "unet", "sample_size": 8, "in_channels": 3, "num_classes": 2, "block_out_channels": [8],
    "down_block_types": ["DownBlock2D"], "layers_per_block": 1, "add_attention": False,
}  # fmt: skip


@pytest.fixture
def painter(place):
    """A folder of a tiny diffusion model with two classes."""
    torch.manual_seed(0)
    config = DiffusionConfig.model_validate({"net": NET, "classes": ["cat", "dog"]})
    (place / "painter").mkdir()
    FAMILY.folder.save(Model(FAMILY, config, FAMILY.build(config), generation={"steps": 2}), place / "painter")
    return str(place / "painter")


def test_a_picture_carries_what_made_it(painter, place, call):
    done = call("generate", painter, "cat", "--seed", "3", "--out", "one.png")
    assert done.out.strip() == "one.png"
    with Image.open(place / "one.png") as picture:
        assert picture.size == (8, 8)
        (row,) = json.loads(picture.text[ROWS])
    assert (row["prompt"], row["seed"], row["settings"]["steps"]) == ("cat", 3, 2)
    again = api.generate(painter, "cat", seed=3)[0].data
    with Image.open(place / "one.png") as picture:
        assert picture.tobytes() == again.tobytes()


def test_one_adapter_at_a_time_draws(painter, place, call, monkeypatch):
    plain = api.load(painter)
    monkeypatch.setattr("makar.app.api.load", lambda model, adapters, say: plain)
    assert call("generate", painter, "cat", "--adapter", "a", "--out", "a.png").out.strip() == "a.png"
    err = call("generate", painter, "cat", "--adapter", "a", "--adapter", "b=c", "--out", "b.png", code=2).err
    assert "--adapter: several adapters answer only in words (got ['a', 'b']); name one at a time" in err
    assert not (place / "b.png").exists()


def test_several_are_a_grid_or_a_folder(painter, place, call):
    call("generate", painter, "dog", "--count", "4", "--out", "grid.png")
    with Image.open(place / "grid.png") as picture:
        assert picture.size == (16, 16)
        assert [row["seed"] for row in json.loads(picture.text[ROWS])] == [0, 1, 2, 3]
    done = call("generate", painter, "dog", "--count", "2", "--out", "many", "--set", "sampler=euler", "--json")
    assert json.loads(done.out) == ["many/0000.png", "many/0001.png"]


def test_a_picture_is_begun_from_and_kept_outside_a_mask(painter, place, call):
    Image.new("RGB", (8, 8), (255, 0, 0)).save(place / "red.png")
    mask = Image.new("L", (8, 8), 0)
    mask.paste(255, (0, 0, 4, 8))
    mask.save(place / "mask.png")
    call("generate", painter, "cat", "--image", "red.png", "--mask", "mask.png", "--out", "new.png")
    with Image.open(place / "new.png") as picture:
        assert picture.crop((4, 0, 8, 8)).getcolors() == [(32, (255, 0, 0))]
        assert picture.crop((0, 0, 4, 8)).getcolors() != [(32, (255, 0, 0))]


def test_a_model_that_reads_is_told_a_caption_or_nothing_and_how_much_to_keep(call, place):
    from tests.families.clip.support import tiny
    from tests.families.diffusion.reading import reader

    text = text_of(tiny())
    model = reader(tower=text, joint_attention_dim=2 * text.width, pooled_projection_dim=2 * text.pooled_width)
    (place / "drawer").mkdir()
    model.family.folder.save(dataclasses.replace(model, generation={"steps": 4}), place / "drawer")
    assert "an empty caption" in call("generate", "drawer", "", "--out", "a.png", code=2).err
    assert "an empty caption" in call("generate", "drawer", " ", "--out", "a.png", code=2).err
    assert not (place / "a.png").exists()
    call("generate", "drawer", "--out", "any.png")
    Image.new("L", (8, 8), 255).save(place / "white.png")
    for strength in ("0.01", "1.0"):
        words = ("--image", "white.png", "--strength", strength, "--out", f"{strength}.png")
        call("generate", "drawer", "a cat", *words)
    kept, new = (np.asarray(Image.open(place / f"{strength}.png"), float) for strength in ("0.01", "1.0"))
    assert np.abs(kept - 255).mean() < np.abs(new - 255).mean() / 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "--out FILE.png"),
        (["--out", "a.jpg"], "written as PNG"),
        (["--out", "none/a.png"], "its folder does not exist"),
        (["--out", "taken"], "a file is where the folder should be"),
        (["--out", "a.png", "--image", "no.png"], "no.png: cannot be read: No such file"),
        (["--out", "a.png", "--image", "."], "cannot be read: Is a directory"),
        (["--out", "a.png", "--image", "painter/config.json"], "cannot be read as a picture: not a picture"),
        (["--out", "a.png", "--set", "sampler=eulr"], "euler"),
        (["--out", "a.png", "--set", "steps=0"], "steps"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(painter, call, place, given, said):
    (place / "taken").write_text("")
    err = call("generate", painter, "cat", *given, code=2).err
    assert said in err
    assert "Traceback" not in err
    assert not (place / "a.png").exists()


def test_a_picture_to_begin_from_is_read_as_those_of_a_dataset(place):
    turned, clear = Image.new("RGB", (4, 2), (9, 9, 9)), Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    exif = turned.getexif()
    exif[ExifTags.Base.Orientation] = 6
    turned.save(place / "turned.png", exif=exif)
    clear.save(place / "clear.png")
    assert opened(place / "turned.png").size == (2, 4)
    assert opened(place / "clear.png").convert("RGB").getcolors() == [(4, (255, 255, 255))]
    turned.save(place / "drawing.eps")  # Pillow would hand it to another program
    with pytest.raises(InputError, match="not a picture of a known format"):
        opened(place / "drawing.eps")


def test_a_class_may_be_a_number_and_none_of_them_is_no_class(painter):
    named = [answer.data.tobytes() for answer in api.generate(painter, ["cat", "dog"])]
    assert [answer.data.tobytes() for answer in api.generate(painter, [0, 1])] == named
    model = api.load(painter)
    assert [each.prompt for each in requests(model, 0, 1, 0, settings={})] == [0]
    assert [each.prompt for each in requests(model, ["", 0, 1], 1, 0, settings={})] == [None, 0, 1]


def test_nobody_is_asked_to_choose_between_pictures_of_what_the_model_does_not_know(painter, place, call):
    (place / "classes.txt").write_text("cow\n")
    assert "no such class" in call("feedback", painter, "classes.txt", code=2).err
    assert not (place / "choices.jsonl").exists()


def test_a_model_of_text_takes_no_picture(workspace, call):
    assert "takes no pictures" in call("generate", "first", "a", "--image", "x.png", code=2).err
