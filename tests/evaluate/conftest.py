import pytest
import torch

from makar.codecs.bpe import SPECIAL, train_bpe
from makar.core.files import write_json
from makar.core.nouns import Model
from makar.core.random import numpy_rng
from makar.data.chats import as_line
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.data.store import SPLITS, Count, Manifest, ShardWriter
from makar.families.language import sample
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.nets.decoder import Decoder

WORDS = ["the", "a", "moon", "sea", "hill", "night", "light", "wind", "rose", "over", "silver", "rise", "sing", "day"]


def poem(number: int) -> str:
    """Twelve lines of four to seven words, another poem for each number."""
    rng = numpy_rng(number, "poem")
    return "\n".join(" ".join(rng.choice(WORDS, rng.integers(4, 8))) for _ in range(12))


def build(folder, texts, kind="text"):
    """A dataset folder with the given texts in its splits."""
    kept, shards = {}, []
    for split in SPLITS:
        writer = ShardWriter(folder, split)
        for number, text in enumerate(texts[split]):
            writer.add((text, f"{split}-{number}", "book", "here"), len(text.encode()) + 1)
        writer.close()
        shards += writer.shards
        kept[split] = Count(documents=len(texts[split]), bytes=sum(len(text.encode()) + 1 for text in texts[split]))
    total = sum(kept.values(), Count())
    manifest = Manifest(
        sources=[], options=CollectOptions(), read=total, kept_raw=kept, kept=kept, dropped={}, mended=Count(),
        shards=shards, notes=[], kind=kind,
    )  # fmt: skip
    write_json(folder / "manifest.json", manifest.model_dump())
    return Dataset.open(folder)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    texts = {"train": range(30), "valid": range(30, 35), "test": range(40, 50)}
    return build(tmp_path_factory.mktemp("poems"), {split: [poem(k) for k in ks] for split, ks in texts.items()})


@pytest.fixture
def model():
    """A tiny model that finds every token equally likely: its last norm is zero, and so are its logits."""
    codec = train_bpe(["the moon over the sea"] * 9, len(SPECIAL) + 256 + 4)
    config = LanguageConfig(
        vocab_size=codec.vocab_size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    net = Decoder(config)
    torch.nn.init.zeros_(net.model.norm.weight)
    return Model(FAMILY, config, net, {"codec": codec}, {"max_tokens": 30, "temperature": 1.0})


@pytest.fixture
def records(tmp_path):
    """Makes a dataset of records of a kind: those given are its test split, unless told otherwise."""

    def make(kind, test, train=()):
        splits = {"train": train, "valid": [], "test": test}
        lines = {split: [as_line(record) for record in each] for split, each in splits.items()}
        return build(tmp_path / f"{kind}-{len(test)}-{len(train)}", lines, kind)

    return make


@pytest.fixture
def answers_with(monkeypatch):
    """Makes a model answer as a function of the prompt's text says; None is an answer without an end."""

    def script(model, answer):
        codec = model.parts["codec"]

        def scripted(logits, state):
            drawn = []
            for row, start in enumerate(state["prompt"].tolist()):
                said = answer(codec.text(state["tokens"][row, :start].tolist()))
                ids = [*codec.ids("la" * 99 if said is None else said, start=False), codec.end_id]
                drawn.append(ids[int(state["lengths"][row]) + 1 - start])
            return torch.tensor(drawn)

        monkeypatch.setattr(sample, "choose", scripted)

    return script
