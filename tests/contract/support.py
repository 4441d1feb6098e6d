"""What the contract is kept by: every family, each of its objectives, through the real trainer."""

from pathlib import Path

import torch

from makar.codecs.bpe import SMALLEST, train_bpe
from makar.codecs.sight import sighted
from makar.core.nouns import Model, Request, Verdict
from makar.families.table import FAMILIES, family
from makar.train.config import Cosine, Optimizer, TrainConfig
from makar.train.loop import Periodic, fit
from makar.train.metrics import read_metrics
from tests.contract.toys import TOYS

ALL = {name: family(name) for name in FAMILIES} | TOYS
CASES = [(name, objective) for name, found in ALL.items() for objective in found.objectives]
BATCH = 16


class Killed(Exception):
    """Stands for a kill: nothing is saved on the way out."""


def killer(step: int) -> Periodic:
    """Ends the process, as it were, once so many steps are complete."""

    def watch(at, model):
        raise Killed

    return Periodic("killer", watch, step)


def looker(score=lambda step: None, action=lambda step: "go", every: int = 1) -> Periodic:
    """A watch whose words are functions of the step."""
    return Periodic("looker", lambda step, model: Verdict(score=score(step), action=action(step)), every)


def fresh(name: str, seed: int = 0) -> Model:
    """An untrained tiny model."""
    found = ALL[name]
    config, _ = found.tiny()
    torch.manual_seed(seed)
    return Model(found, config, found.build(config))


def speaking(name: str) -> Model:
    """An untrained tiny model with all that it needs to generate."""
    model = fresh(name)
    if name not in ("language", "llava"):
        return model
    codec = train_bpe(["the moon the moon"] * 9, SMALLEST + 4)
    words = {"vocab_size": codec.vocab_size}
    if name == "llava":
        codec = sighted(codec, model.config.image_token_index)
        words = {"text": model.config.text.model_copy(update={**words, "max_position_embeddings": 64})}
    config = model.config.model_copy(update=words)
    return Model(model.family, config, model.family.build(config), {"codec": codec})


def settings(steps: int, **more) -> TrainConfig:
    """Settings for tiny models."""
    base = {
        "steps": steps,
        "batch_size": BATCH,
        "optimizer": Optimizer(learning_rate=1e-2, weight_decay=0.0),
        "schedule": Cosine(warmup=0.05),
        "checkpoint_steps": 5,
        "compile": "off",
    }
    return TrainConfig(**(base | more))


def train(name: str, objective: str, folder: Path, config: TrainConfig, model=None, source=None, **more):
    """Fit a tiny model; the same folder goes on.

    Returns:
        The model and the lines of the metrics file.
    """
    found = ALL[name]
    model = model or fresh(name)
    fit(model, source or found.tiny()[1], found.objectives[objective](), config, seed=0, folder=folder, **more)
    return model, read_metrics(folder / "metrics.jsonl")


def losses(lines) -> list[str]:
    """Every player's losses, to the bit."""
    return [value for line in lines for key, value in line.items() if key.endswith("loss_hex")]


def equal_weights(one, other) -> bool:
    """Whether two nets are equal to the bit."""
    pairs = zip(one.net.state_dict().items(), other.net.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def requests(name: str, count: int):
    """So many requests that the family can answer."""
    prompts = {
        "language": lambda seed: "the moon",
        "llava": lambda seed: {"text": "the moon", "image": torch.full((1, 8, 8), seed / count)},
    }
    prompt = prompts.get(name, lambda seed: None)
    return [Request(prompt(seed), seed=seed) for seed in range(count)]
