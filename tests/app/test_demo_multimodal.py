"""`makar demo multimodal`: the story in small, and what it shows."""

import re

import pytest
from PIL import Image

from makar.app import demo_multimodal as story
from makar.recipes.load import load_recipe, shipped
from scripts import docs
from tests.emoji import draw_set
from tests.tiny import SCENES

ANSWER = """
[stages.answer]
parts = {{ vision = "@clip" }}
sample = {{ temperature = 0.0, max_tokens = 2 }}
data = {{ sources = ["{emoji}"], rows = "scene-talks", length = 112 }}
train = {{ steps = 1, batch_size = 4, compile = "off", precision = "fp32" }}
watch = {{ validate_rows = 4 }}
[stages.answer.model]
family = "llava"
vision = {{ hidden_size = 16, num_hidden_layers = 1, patch_size = 16 }}
text = {{ hidden_size = 16, num_hidden_layers = 1, vocab_size = 400, num_attention_heads = 2 }}
"""


@pytest.fixture
def small(place, monkeypatch):
    """The story's recipe in small, on discs in place of emoji."""
    monkeypatch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)
    for name, value in (("captioned.TOLD", 200), ("talks.LOOKED", 1), ("talks.TOLD", 50)):
        monkeypatch.setattr(f"makar.recipes.{name}", value)
    (place / "demo-multimodal").write_text((SCENES + ANSWER).format(emoji=draw_set(place / "emoji")))


def test_the_story_ends_with_a_sheet_and_answers(small, place, call):
    out, _ = call("demo", "multimodal", "--quiet")
    assert [int(number) for number in re.findall(r"^(\d)\. ", out, re.M)] == [1, 2, 3, 4, 5, 6, 7]
    assert all(question in out for question in story.QUESTIONS)
    for sheet in ("runs/demo-multimodal/scenes.png", "runs/demo-multimodal/draw/samples/demo.png"):
        with Image.open(place / sheet) as shown:
            assert shown.width == 4 * (32 * story.LARGER + 8)


def test_a_caption_stands_below_its_picture():
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    sheet = story.captioned(pictures, ["one", "a caption that needs more than a line of it"], columns=2)
    side = 32 * story.LARGER
    assert sheet.getpixel((10, 10)) == (255, 0, 0)
    assert sheet.getpixel((side + 20, 10)) == (0, 0, 255)
    below = sheet.crop((0, side + 3, side, sheet.height))
    assert below.getextrema()[0][0] < 128, "letters are dark"
    assert len(story.broken("a caption that needs more than a line of it", 18)) == 3


def test_the_recipe_and_the_next_commands_exist():
    assert story.RECIPE in shipped()
    assert [name.split("/")[1] for name in load_recipe(story.RECIPE).stages] == list(story.STAGES)
    for words, _ in story.NEXT:
        assert list(docs.broken_command("makar " + words.format(name="demo"))) == []
