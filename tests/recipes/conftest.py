"""A corpus that a test writes itself, and a recipe that learns from it in seconds."""

import json

import numpy as np
import pytest

from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.run import Workspace
from tests.tiny import SCENES, TINY

WORDS = [
    "the",
    "a",
    "moon",
    "sea",
    "wind",
    "rose",
    "night",
    "star",
    "and",
    "of",
    "in",
    "over",
    "under",
    "sings",
    "sleeps",
    "burns",
    "slowly",
    "never",
    "again",
]

RECIPE = TINY.replace("{data}", 'sources = ["{corpus}"]\ncollect = {{ valid_fraction = 0.1, min_chars = 1 }}')


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Two hundred small poems, each its own group."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("corpus") / "poems.jsonl"
    poems = [" ".join(rng.choice(WORDS, 40)) for _ in range(200)]
    path.write_text("".join(json.dumps({"text": poem}) + "\n" for poem in poems))
    return path


@pytest.fixture(scope="session")
def verses(tmp_path_factory):
    """Two hundred poems of four lines that each repeat a noun and end a sentence, so that questions can be made."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("verses") / "verses.jsonl"
    with path.open("w") as file:
        for k in range(200):
            noun = ("moon", "sea", "star")[k % 3]
            a, b, c, d = ("".join(rng.choice(list("abdelmnor"), 5)) for _ in range(4))
            text = f"{a} the {noun} is {b},\nThe {noun} of {c}\n{d} {a} the {noun}\n{c} {b} the {noun}."
            file.write(json.dumps({"text": text}) + "\n")
    return path


@pytest.fixture(scope="session")
def python_files(tmp_path_factory):
    """Forty files of functions that have docstrings."""
    folder = tmp_path_factory.mktemp("code")
    for k in range(40):
        body = f"    total = {k}\n    for x in range({k}):\n        total += x * {k}\n    return total\n"
        (folder / f"m{k}.py").write_text(f'def f{k}(a):\n    """Give back {k} times the sum."""\n{body}')
    return folder


@pytest.fixture(scope="session")
def manual(tmp_path_factory):
    """Forty pages of one paragraph of four sentences."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("manual")
    for k in range(40):
        sentences = (" ".join(rng.choice(WORDS, 8)).capitalize() + "." for _ in range(4))
        (folder / f"page{k}.txt").write_text(" ".join(sentences) + "\n")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Noise of 28x28 pixels, in ten folders of twelve."""
    from PIL import Image

    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    for number in range(120):
        place = folder / f"c{number % 10}"
        place.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(place / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def speaker(verses, tmp_path_factory):
    """A tiny model that was trained on conversations, as a folder."""
    root = tmp_path_factory.mktemp("speaker")
    data = f"data={{sources=['{verses}'], rows='chat', length=512, collect={{min_chars=1, ask=['topic']}}}}"
    (root / "speaker.toml").write_text("")
    model = "model={family='language', vocab_size=300, hidden_size=16, num_hidden_layers=1}"
    sets = [data, model, "train={steps=1, batch_size=2, compile='off'}"]
    return train(load_recipe(root / "speaker.toml", sets), Workspace(root))[0].run.model


@pytest.fixture(scope="session")
def painter(tmp_path_factory):
    """A tiny diffusion model of ten classes that has learned nothing, as a folder."""
    from makar.core.nouns import Model
    from makar.families.diffusion.config import DiffusionConfig
    from makar.families.diffusion.family import FAMILY

    net = {"kind": "unet", "sample_size": 28, "in_channels": 1, "num_classes": 10, "block_out_channels": [8, 8]}
    config = DiffusionConfig.model_validate({"net": net})
    folder = tmp_path_factory.mktemp("painter")
    FAMILY.folder.save(Model(FAMILY, config, FAMILY.build(config)), folder)
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A set of emoji, a tiny CLIP of scenes and a tiny model that is told by it: their folders by name."""
    from tests.emoji import draw_set

    root = tmp_path_factory.mktemp("scenes")
    emoji = draw_set(root / "emoji")
    (root / "scenes.toml").write_text(SCENES.format(emoji=emoji))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)
        patch.setattr("makar.recipes.captioned.TOLD", 200)
        done = train(load_recipe(root / "scenes.toml"), Workspace(root))
    return {"emoji": emoji, **{result.run.folder.name: result.run.model for result in done}}


@pytest.fixture
def hasty_judges(monkeypatch):
    """What measures pictures has learned for two steps, and the judge of scenes nothing."""
    import torch

    from makar.core.nouns import Model
    from makar.evaluate import judge

    def untrained(sprites, say, seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = judge.JudgeConfig()
            return Model(judge.JUDGE, config, judge.build(config).eval())

    monkeypatch.setattr("makar.evaluate.classifier.STEPS", 2)
    for place in ("attributes", "picture_judges"):
        monkeypatch.setattr(f"makar.recipes.{place}.judge_of", untrained)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


@pytest.fixture
def tiny(tmp_path, corpus):
    """Load the tiny recipe, changed at will."""

    def load(*sets, name="tiny", text=RECIPE):
        path = tmp_path / f"{name}.toml"
        path.write_text(text.format(corpus=corpus))
        return load_recipe(path, sets)

    return load


@pytest.fixture(autouse=True)
def no_long_probe(request, monkeypatch):
    """The plan's probe takes two steps and no more, but where a test is about it."""
    monkeypatch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)


@pytest.fixture
def shades(tmp_path):
    """Dark and bright noise of 8x8 pixels, a class each."""
    from PIL import Image

    random, folder = np.random.default_rng(0), tmp_path / "pictures"
    for label, (low, high) in {"bright": (160, 256), "dark": (0, 96)}.items():
        (folder / label).mkdir(parents=True)
        for number in range(20):
            values = random.integers(low, high, (8, 8), dtype=np.uint8)
            Image.fromarray(values).save(folder / label / f"{number}.png")
    return folder
