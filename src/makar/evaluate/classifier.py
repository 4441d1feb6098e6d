"""A classifier of a dataset's own pictures, trained once and kept beside them: what pictures are measured with."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from makar.core.config import Config
from makar.core.nouns import Batch, Loss, Model, Source
from makar.core.random import Rng
from makar.core.say import Say
from makar.data.config import Augment
from makar.data.dataset import Dataset
from makar.data.pixels import Pixels, PixelShards
from makar.data.table import TensorSource
from makar.evaluate.kept import kept, measuring
from makar.nets.classifier import PictureClassifier, turned

STEPS, BATCH = 1000, 128

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


def tiny() -> tuple[Config, Source]:
    """Dark pictures and bright ones."""
    label = torch.arange(8) % 2
    images = (label.float() * 2 - 1)[:, None, None, None].expand(8, 1, 8, 8).contiguous()
    config = ClassifierConfig(channels=1, size=8, classes=("dark", "bright"), named=True)
    return config, TensorSource({"images": images, "label": label}, seed=0)


def shape(config: ClassifierConfig) -> tuple[int, int, int]:
    """Of a picture."""
    return config.channels, config.size, config.size


CLASSIFIER = measuring("classifier", ClassifierConfig, build, shape=shape, learns=Classify, tiny=tiny)


def classifier_of(dataset: Dataset, train: PixelShards, say: Say, seed: int = 0) -> Model[PictureClassifier]:
    """The dataset's own classifier for pictures of a size, trained at the first call; a killed training goes on.

    Args:
        dataset: In whose folder it is kept.
        train: The training pictures.
        say: Told when it takes time.
        seed: Another one for a second opinion: of the same pictures, and of no weight or order that the first had.

    Raises:
        UserError: There is no space, or the folder cannot be written.
    """
    channels, size, _ = train.shape
    named = len(train.classes) > 1
    config = ClassifierConfig(channels=channels, size=size, classes=train.classes if named else TURNS, named=named)
    what = f"a classifier of {'classes' if named else 'turns'} to measure with"
    return kept(
        CLASSIFIER, config, Pixels(train, seed, VARIED), what, beside=dataset.path / "features",
        knows={"pixels": train.hash} | ({"seed": seed} if seed else {}), steps=STEPS, batch_size=BATCH, say=say,
        seed=seed,
    )  # fmt: skip
