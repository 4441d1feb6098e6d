"""A workspace with one tiny finished run, and a way to call the command line in this process."""

import json
import random

import pytest
import torch

from makar.app import api, cli
from makar.codecs.bpe import SPECIAL, train_bpe
from makar.core.files import write_json
from makar.core.nouns import Model
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.nets.decoder import Decoder
from makar.recipes.load import to_toml
from makar.recipes.manifest import hash_of
from tests.tiny import TINY

PLAIN = {"data": {"dataset": "none"}, "train": {"steps": 20, "batch_size": 4}}

RECIPE = TINY.replace("{data}", 'dataset = "data/mine"')


@pytest.fixture(scope="session")
def model():
    codec = train_bpe(["the moon"], len(SPECIAL) + 256)
    config = LanguageConfig(
        vocab_size=codec.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    return Model(FAMILY, config, Decoder(config), {"codec": codec}, {"max_tokens": 12})


@pytest.fixture
def workspace(tmp_path, monkeypatch, model):
    """The current folder, with the run `first` in it."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "first"
    (run / "model").mkdir(parents=True)
    FAMILY.folder.save(model, run / "model")
    (run / "recipe.toml").write_text(to_toml(PLAIN))
    write_json(
        run / "manifest.json", {"name": "first", "recipe": hash_of(PLAIN), "started": "2026", "finished": "2026"}
    )
    steps = [{"kind": "train", "step": step, "loss": 5.0 - step / 10} for step in range(20)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in steps))
    return tmp_path


@pytest.fixture
def call(capsys):
    """Run a command in this process, check its exit code, and hand back what it wrote to stdout and stderr."""

    def run(*words, code=0):
        with pytest.raises(SystemExit) as stopped:
            cli.main(list(words))
        assert stopped.value.code == code
        return capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def no_debug(monkeypatch):
    """A traceback that the developer asked for would be counted among the lines of an error."""
    monkeypatch.delenv("MAKAR_DEBUG", raising=False)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A collected dataset of forty small books."""
    home = tmp_path_factory.mktemp("corpus")
    draw = random.Random(0)
    words = [a + b for a in ("moon", "sun", "star", "sea", "night", "rose") for b in ("", "s", "light", "like", "less")]
    for book in range(40):
        lines = ["The " + " ".join(draw.choices(words, k=7)) for _ in range(12)]
        (home / f"book{book}.txt").write_text("\n".join(lines) + "\n")
    api.collect([str(home / f"book{book}.txt") for book in range(40)], home / "mine")
    return home / "mine"


@pytest.fixture
def place(tmp_path, monkeypatch, corpus):
    """The current folder, with the dataset and a recipe in it, and a download cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").symlink_to(corpus)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "demo").write_text(RECIPE)
    return tmp_path
