"""A classifier of a dataset's own pictures, trained once and kept beside them: what pictures are measured with."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from makar.core.config import Config, parse
from makar.core.errors import UserError
from makar.core.files import folder_atomic, lock, read_json, seal_of, write_json
from makar.core.nouns import Batch, Cost, Family, Folder, Loss, Model, Source
from makar.core.random import Rng, key_of
from makar.core.tensors import check_shapes, load_tensors, save_tensors
from makar.data.config import Augment
from makar.data.dataset import Dataset
from makar.data.pixels import Pixels, PixelShards
from makar.data.table import TensorSource
from makar.nets.classifier import PictureClassifier, turned
from makar.nets.counting import counted
from makar.train.config import Cosine, Optimizer, TrainConfig
from makar.train.loop import fit

STEPS, BATCH = 1000, 128

RATE = Optimizer(learning_rate=3e-3, weight_decay=0.05)

VARIED = Augment(crop=0.85, jitter=0.1)
"""Nothing that changes what a picture is of: a mirrored digit is none."""

TURNS = ("upright", "turned left", "upside down", "turned right")
"""What is learned of pictures that nobody has named."""


class ClassifierConfig(Config):
    """What is told apart.

    Args:
        channels: Of the pictures.
        size: Their side in pixels.
        classes: Names.
        named: Whether they are the dataset's classes; else how a picture is turned.
    """

    channels: int
    size: int
    classes: tuple[str, ...]
    named: bool


@dataclass(frozen=True)
class Classify:
    """Cross-entropy of the classes; a row whose label is below 0 has none and does not count."""

    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[PictureClassifier], batch: Batch, rng: Rng) -> Batch:
        """Of pictures that nobody has named, turn each at random."""
        assert isinstance(model.config, ClassifierConfig)
        if model.config.named:
            return batch
        label = rng.integers("turn", len(TURNS))
        return {"images": turned(batch["images"], label), "label": label}

    def __call__(self, model: Model[PictureClassifier], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Nats over rows, and the share that is right."""
        logits, label = model.net(micro["images"]).float(), micro["label"]
        right = (logits.argmax(1) == label).float().sum()
        loss = F.cross_entropy(logits, label, ignore_index=-1, reduction="sum")
        return Loss(loss, (label >= 0).float().sum(), {"right": right})


def build(config: ClassifierConfig) -> PictureClassifier:
    """A fresh net."""
    return PictureClassifier(config.channels, config.size, len(config.classes))


def blocks(net: PictureClassifier) -> Sequence[nn.Module]:
    """The stages."""
    return list(net.stages)


def save(model: Model[PictureClassifier], folder: Path) -> None:
    """Write a classifier into an existing empty folder."""
    write_json(folder / "config.json", model.config.model_dump(mode="json"))
    save_tensors(folder / "model.safetensors", model.net.state_dict())


def load(folder: Path) -> Model[PictureClassifier]:
    """Open a classifier.

    Raises:
        UserError: Its files are damaged.
    """
    where = folder / "model.safetensors"
    config, weights = parse(ClassifierConfig, read_json(folder / "config.json"), folder), load_tensors(where)
    with torch.device("meta"):
        net = build(config)
    check_shapes(where, weights, {name: tensor.shape for name, tensor in net.state_dict().items()})
    net.load_state_dict(weights, assign=True)
    return Model(CLASSIFIER, config, net.eval())


def cost(config: ClassifierConfig, length: int) -> Cost:  # noqa: ARG001
    """Parameters, operations and memory for a picture."""
    count = counted(lambda: build(config), (2, config.channels, config.size, config.size))
    return Cost(count.parameters, 1.5 * count.flops, count.kept / 2, ("images", 1), 0.5 * count.flops)


def tiny() -> tuple[Config, Source]:
    """Dark pictures and bright ones."""
    label = torch.arange(8) % 2
    images = (label.float() * 2 - 1)[:, None, None, None].expand(8, 1, 8, 8).contiguous()
    config = ClassifierConfig(channels=1, size=8, classes=("dark", "bright"), named=True)
    return config, TensorSource({"images": images, "label": label}, seed=0)


CLASSIFIER: Family[Any] = Family(
    name="classifier", config=ClassifierConfig, settings=Config, build=build, blocks=blocks,
    objectives={"classify": Classify}, sampler=None, log_prob=None,
    folder=Folder(save, load, lambda folder: False),  # noqa: ARG005
    cost=cost, inputs=("images",), tiny=tiny,
)  # fmt: skip
"""The record by which the trainer knows it; it is for measuring, and in no table of families."""


def classifier_of(dataset: Dataset, train: PixelShards, say: Callable[[str], None]) -> Model[PictureClassifier]:
    """The dataset's own classifier for pictures of a size, trained at the first call; a killed training goes on.

    Args:
        dataset: In whose folder it is kept.
        train: The training pictures.
        say: Told when it takes time.

    Raises:
        UserError: There is no space, or the folder cannot be written.
    """
    channels, size, _ = train.shape
    named = len(train.classes) > 1
    config = ClassifierConfig(channels=channels, size=size, classes=train.classes if named else TURNS, named=named)
    how = TrainConfig(
        steps=STEPS, batch_size=BATCH, optimizer=RATE, schedule=Cosine(warmup=0.1, floor=0.0), precision="fp32",
        compile="off", log_every=50,
    )  # fmt: skip
    identity = {"pixels": train.hash, "classifier": config.model_dump(mode="json")}
    place = dataset.path / f"features-{seal_of([identity, how.model_dump(mode='json')])[:12]}"
    if place.is_dir():
        try:
            return load(place)
        except UserError as fault:
            say(f"{fault}: training it anew")
    say(f"training a classifier of {'classes' if named else 'turns'} to measure with, once: {STEPS} steps")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(0, "weights"))
        model = Model(CLASSIFIER, config, build(config))
    work = place.with_name(f"{place.name}-training")
    with lock(work):
        done = fit(model, Pixels(train, 0, VARIED), Classify(), how, seed=0, folder=work, identity=identity)
        if done.interrupted:
            raise KeyboardInterrupt
        with folder_atomic(place) as folder:
            save(model, folder)
    shutil.rmtree(work, ignore_errors=True)
    return model
