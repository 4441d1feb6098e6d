"""`makar demo vae|diffusion|gan`: the stories in small, and the next commands that they name."""

import re
from dataclasses import replace

import pytest
from PIL import Image

from makar.app import demo_pictures, demos
from makar.recipes.load import shipped
from scripts import docs
from tests.data.drawn import noise

TINY = """
train = {{ steps = 2, batch_size = 4, compile = "off" }}
sample = {{ steps = 2 }}
[data]
sources = ["{folder}"]
rows = "image"
collect = {{ valid_fraction = 0.2, test_fraction = 0.2, pictures = {{ near = 0 }} }}
[model]
family = "diffusion"
[model.net]
kind = "unet"
sample_size = 8
in_channels = 1
num_classes = 2
block_out_channels = [8]
add_attention = false
"""


@pytest.fixture
def story(place, monkeypatch):
    """A story of forty pictures in two classes."""
    monkeypatch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)
    monkeypatch.setattr("makar.evaluate.classifier.STEPS", 4)
    monkeypatch.setattr(demo_pictures, "SAMPLES", 8)
    for seed in range(40):
        path = place / "pictures" / ("moon" if seed % 2 else "sun") / f"{seed:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed, side=8).save(path)
    (place / "noise").write_text(TINY.format(folder=place / "pictures"))
    return replace(demo_pictures.STORIES["diffusion"], recipe="noise", suites=("agreement",))


def test_a_story_ends_with_a_grid_and_figures(story, place, capsys):
    demo_pictures.demo(story, quiet=True)
    out = capsys.readouterr().out
    assert [int(number) for number in re.findall(r"^(\d)\. ", out, re.M)] == [1, 2, 3, 4, 5]
    assert re.search(r"^kept: test +\d", out, re.M)
    assert re.search(r"^right: moon +\d", out, re.M)
    with Image.open(place / "runs/noise/samples/demo.png") as grid:
        assert grid.size == (3 * 8, 3 * 8), "four of each of two classes, and one place left over"


def test_a_terminal_shows_two_pixels_a_character():
    picture = Image.new("RGB", (2, 2), (255, 0, 0))
    picture.putpixel((1, 1), (0, 0, 255))
    red, blue = "38;2;255;0;0", "48;2;0;0;255"
    shown = demo_pictures.blocks(picture)
    assert shown.count("▀") == 2
    assert shown.index(red) < shown.index(blue)
    assert shown.count(red) == 2
    assert len(demo_pictures.blocks(Image.new("L", (500, 250)), columns=50).splitlines()) == 12


def test_an_unknown_story_names_the_nearest(call):
    _, err = call("demo", "difusion", code=2)
    assert "no such demo" in err
    assert "diffusion" in err


@pytest.mark.parametrize("story", demo_pictures.STORIES.values(), ids=demo_pictures.STORIES)
def test_recipes_and_next_commands_exist(story):
    assert story.recipe in shipped()
    for words, _ in story.next:
        assert list(docs.broken_command("makar " + words.format(name="demo"))) == []


def test_every_story_can_be_asked_for():
    assert {"poems", *demo_pictures.STORIES} <= set(demos.DEMOS)
