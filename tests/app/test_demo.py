"""`makar demo`: the whole story in small, interrupted and begun again."""

import json
import re

import pytest

from makar.app import demo
from makar.recipes.load import load_recipe, shipped
from scripts import docs

TINY = """
[stages.pretrain]
data = {{ sources = ["{verse}"], collect = {{ valid_fraction = 0.2, min_chars = 1 }}, length = 64 }}
train = {{ steps = 4, batch_size = 4, compile = "off" }}
watch = {{ validate_rows = 4, sample_every = 2, prompts = ["The moon"] }}
[stages.pretrain.model]
family = "language"
vocab_size = 300
hidden_size = 16
num_hidden_layers = 1
[stages.pretrain.sample]
max_tokens = 8

[stages.sft]
init = "@pretrain"
train = {{ steps = 3, batch_size = 4, compile = "off" }}
watch = {{ validate_rows = 4, prompts = ["Write a poem about the moon."] }}
[stages.sft.data]
sources = ["{verse}"]
collect = {{ valid_fraction = 0.2, min_chars = 1, ask = ["topic"] }}
rows = "chat"
length = 64
cut = 1.0

[stages.rlhf]
init = "@sft"
objective = {{ name = "grpo" }}
reward = {{ rhyme = 1.0 }}
rollouts = {{ group = 2, max_tokens = 8 }}
train = {{ steps = 2, batch_size = 4, compile = "off" }}
watch = {{ validate_rows = 4, prompts = ["Write a poem about the moon."] }}
[stages.rlhf.data]
sources = ["{verse}"]
collect = {{ valid_fraction = 0.2, min_chars = 1, ask = ["topic"] }}
rows = "prompts"
length = 64
"""


@pytest.fixture
def story(place, monkeypatch):
    """The demo's recipe in small, on sixty verses."""
    monkeypatch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)
    draw = demo_verses()
    (place / "verse.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in draw))
    (place / "demo").write_text(TINY.format(verse=place / "verse.jsonl"))
    return place


def demo_verses():
    import random

    draw = random.Random(0)
    for word in ("moon", "sea", "star") * 20:
        a, b, c, d = ("".join(draw.choices("abdelmnor", k=5)) for _ in range(4))
        yield f"{a} the {word} is {b},\nThe {word} of {c}\n{d} {a} the {word}\n{c} {b} the {word}."


def test_the_story(story, call):
    out, err = call("demo")
    parts = [int(number) for number in re.findall(r"^(\d)\. ", out, re.M)]
    assert parts == [1, 2, 3, 4, 5]
    assert re.search(r"^read +60 +\d", out, re.M)
    assert re.search(r"^kept: test +\d", out, re.M)
    assert len(re.findall(r"^ +memory +[\d,]+ MB +[\d,]+ MB$", out, re.M)) == 3
    assert re.search(r"^ +model +\d+\.\d{3}\n +bzip2 -9 +\d+\.\d{3}\n +xz -9e +\d+\.\d{3}$", out, re.M)
    assert re.search(r"^ +reward +\d\.\d{3} +\d\.\d{3}$", out, re.M)
    assert out.count("asked for 'Write a poem about the moon.'") == 3
    assert "runs/demo (" in out
    assert "a sample at step 2" in err

    again, err = call("demo")
    assert err.count("finished at") == 3
    poems = re.compile(r"it now writes:(.*?)(?=^\d\. )", re.M | re.S)
    assert poems.findall(again) == poems.findall(out)
    assert call("generate", "runs/demo", "Write a poem about the sea.").out, "its name means the last stage"


def test_quiet_tells_the_story_alone(story, call):
    out, err = call("demo", "--quiet")
    assert "5. All of it is in" in out
    assert not err


def test_the_next_commands_exist():
    for words, _ in demo.NEXT:
        assert list(docs.broken_command("makar " + words.format(name="demo"))) == []


def test_the_recipe_is_a_shipped_one_on_a_part_of_the_real_corpus():
    assert demo.RECIPE in shipped()
    stages = load_recipe(demo.RECIPE).stages
    assert [name.split("/")[1] for name in stages] == list(demo.STAGES)
    for name, recipe in stages.items():
        assert recipe.data.sources == load_recipe("poems").stages[name.replace("demo", "poems")].data.sources
        assert recipe.data.collect.limit_bytes is not None
        assert recipe.data.collect.test == "last"
