"""What the suites of pictures measure: what a model makes, real pictures beside it, and a network to compare them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from makar.codecs.pixels import MODES
from makar.core.config import parse
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Model, Request
from makar.core.say import Say
from makar.data.dataset import Dataset
from makar.data.pixels import PixelShards, kept_pixels
from makar.engine.run import Answer, Engine
from makar.evaluate.classifier import ClassifierConfig, classifier_of
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.features import LITE, FeatureNetwork, efficientnet_lite, own, torchscript, values_of
from makar.families.diffusion.caption import encoder_of, reads
from makar.families.diffusion.words import literal, readable
from makar.families.settings import square
from makar.nets.classifier import PictureClassifier

SAMPLES = 2000
"""Pictures that a model makes, if the options do not say."""

REAL = 10_000
"""Held-out pictures that they are compared with, at most."""

TOGETHER = 100
"""Pictures that are made together: what that takes is known before it is much, and words on progress come between."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size.

    Args:
        pixels: As bytes.
        labels: Of each, below 0 where nobody knows; None where there are no classes.
    """

    pixels: UInt8[Tensor, "rows channels high wide"]
    labels: Int64[Tensor, " rows"] | None

    def __len__(self) -> int:
        """How many."""
        return len(self.pixels)

    def spread(self, count: int) -> "Pictures":
        """So many of them, evenly spaced; all, where there are no more."""
        rows = torch.from_numpy(evenly(len(self), count))
        return Pictures(self.pixels[rows], None if self.labels is None else self.labels[rows])


@dataclass(frozen=True)
class PictureMaterial:
    """A model and pictures; what takes time is made when the first suite asks for it."""

    model: Model[Any]
    dataset: Dataset
    options: EvaluateOptions
    say: Say

    @cached_property
    def settings(self) -> Any:
        """How the samples are drawn."""
        family = self.model.family
        asked = {**self.model.generation, **self.options.generation}
        return square(parse(family.settings, asked, "generation settings"))

    @property
    def classes(self) -> int:
        """How many classes the model can be asked for."""
        return getattr(self.model.config.net, "num_classes", 0) or 0  # pyright: ignore[reportAttributeAccessIssue]

    @cached_property
    def shape(self) -> tuple[Literal[1, 3], int]:
        """Channels and side of the model's pictures; of a model of codes, of one that it makes."""
        net: Any = self.model.config.net  # pyright: ignore[reportAttributeAccessIssue]: every family of pictures has one
        if "codec" not in self.model.parts:
            channels, size = net.in_channels, net.sample_size
        else:
            picture = Engine(self.model).generate([Request(self.prompt(0), 0, self.settings)])[0].data
            channels, size = len(picture.getbands()), picture.size[0]
        if channels not in (1, 3):
            raise ModelError("it makes no pictures of one or three channels", value=channels, fix="evaluate another")
        return channels, size

    @property
    def told(self) -> bool:
        """Whether samples are made of the captions of held-out pictures."""
        return told_captions(self.model, self.dataset)

    def shards(self, split: str, *, captioned: bool = False) -> PixelShards:
        """A split at the model's size."""
        channels, size = self.shape
        return kept_pixels(self.dataset, split, size, channels, captioned=captioned, say=self.say)

    @cached_property
    def train(self) -> PixelShards:
        """What the model may have learned from."""
        return self.shards("train")

    @cached_property
    def held(self) -> PixelShards:
        """What the model is compared with; those with captions, where it is told these."""
        return self.shards(self.options.split, captioned=self.told)

    @cached_property
    def real(self) -> Pictures:
        """Held-out pictures, evenly spaced where there are many."""
        return some(self.held, REAL)

    def held_rows(self, rows: Sequence[int]) -> Pictures:
        """Some held-out pictures, by their places."""
        return Pictures(torch.from_numpy(np.ascontiguousarray(self.held.take(np.array(rows, np.int64)))), None)

    @cached_property
    def captions(self) -> list[tuple[int, str]]:
        """The caption that each sample is made of, as the model reads it, behind the place of its held-out picture.

        Raises:
            InputError: The model can read none.
        """
        count, encoder = self.options.samples or SAMPLES, encoder_of(self.model)
        rows = evenly(self.held.rows, count).tolist()
        read = [(row, readable(encoder, self.held.captions[row])) for row in rows]
        kept = [(row, text) for row, text in read if text]
        if not kept:
            fix = "name a dataset with captions in the words that it was trained on"
            raise InputError("the model can read no caption", where=self.dataset.path, value=len(read), fix=fix)
        if lost := len(read) - len(kept):
            self.say(f"{lost:,} of {len(read):,} captions are blank or unknown to the model: left out")
        return [kept[place % len(kept)] for place in range(count)]

    @cached_property
    def samples(self) -> Pictures:
        """What the model makes, of the captions or classes of held-out pictures: as often, in no order."""
        count = self.options.samples or SAMPLES
        labels = self.asked(count)
        asked: list[int | None] = [None] * count if labels is None else labels.tolist()
        prompts = [literal(text) for _, text in self.captions] if self.told else [self.prompt(label) for label in asked]
        self.say(f"making {count:,} pictures")
        made = self.made(prompts)
        return Pictures(torch.stack([bytes_of(answer.data, self.shape[0]) for answer in made]), labels)

    def returned(self, pictures: Pictures) -> list[Answer]:
        """What the model gives back of pictures."""
        self.say(f"giving back {len(pictures):,} pictures")
        return self.made([{"image": values_of(picture)} for picture in pictures.pixels])

    def made(self, prompts: Sequence[Any]) -> list[Answer]:
        """The pictures of some prompts, some at a time."""
        found: list[Answer] = []
        for start in range(0, len(prompts), TOGETHER):
            some_prompts = prompts[start : start + TOGETHER]
            seed = self.options.seed + start
            requests = [Request(each, seed + k, self.settings) for k, each in enumerate(some_prompts)]
            found += Engine(self.model).generate(requests)
            if len(found) % (5 * TOGETHER) == 0 and len(found) < len(prompts):
                self.say(f"{len(found):,} of {len(prompts):,} pictures made")
        return found

    def asked(self, count: int) -> Tensor | None:
        """The class of each sample."""
        if not self.classes:
            return None
        labels = some(self.shards(self.options.split), count).labels
        if labels is None or int(labels.max()) >= self.classes:
            return torch.arange(count) % self.classes
        return labels[torch.arange(count) % len(labels)]

    def prompt(self, label: int | None) -> Any:
        """What asks for a class: its name where the model knows it, for its numbers may be others."""
        if label is None or label < 0 or not self.classes:
            return None
        names = getattr(self.model.config, "classes", ())
        shown = self.dataset.manifest.pictures.classes if self.dataset.manifest.pictures else ()
        return shown[label] if label < len(shown) and shown[label] in names else label

    @cached_property
    def classifier(self) -> Model[PictureClassifier]:
        """The dataset's own."""
        return classifier_of(self.dataset, self.train, self.say)

    @property
    def named(self) -> bool:
        """Whether the classifier tells the dataset's classes apart."""
        assert isinstance(self.classifier.config, ClassifierConfig)
        return self.classifier.config.named

    @cached_property
    def network(self) -> FeatureNetwork:
        """What turns pictures into features."""
        if str(self.options.features) == LITE:
            return efficientnet_lite()
        if self.options.features is not None:
            return torchscript(self.options.features)
        return own(self.classifier.net, short_name(self.dataset.path), named=self.named)

    @cached_property
    def seen_real(self) -> Tensor:
        """Features of the held-out pictures."""
        return self.network.of(self.real.pixels)

    @cached_property
    def seen_samples(self) -> Tensor:
        """Features of the samples."""
        return self.network.of(self.samples.pixels)

    def guesses(self, pictures: Pictures) -> Tensor:
        """The classifier's word on each."""
        net = self.classifier.net  # which may have to be trained, and that takes gradients
        with torch.inference_mode():
            return torch.cat([net(values_of(part)).argmax(1) for part in pictures.pixels.split(TOGETHER)])


def told_captions(model: Model[Any], dataset: Dataset) -> bool:
    """Whether a model is told captions, and a dataset's pictures have some."""
    facts = dataset.manifest.pictures
    return model.family.name == "diffusion" and reads(model) and facts is not None and facts.captions > 0


def short_name(folder: Path) -> str:
    """A dataset's name without the hash that a recipe adds to it."""
    name, _, key = folder.name.rpartition("-")
    return name if name and len(key) == 8 and all(letter in "0123456789abcdef" for letter in key) else folder.name


def some(shards: PixelShards, count: int) -> Pictures:
    """Pictures of a split, evenly spaced."""
    rows = evenly(shards.rows, count)
    labels = None if shards.labels is None else torch.from_numpy(shards.labels[rows])
    return Pictures(torch.from_numpy(np.ascontiguousarray(shards.take(rows))), labels)


def evenly(total: int, count: int) -> Int64[np.ndarray, " rows"]:
    """So many places of a total, evenly spaced; all, where there are no more."""
    count = min(count, total)
    return np.arange(count, dtype=np.int64) * total // max(1, count)


def bytes_of(picture: Any, channels: int) -> UInt8[Tensor, "channels high wide"]:
    """A picture of Pillow as a tensor.

    Raises:
        InputError: The model gave none.
    """
    if picture is None:
        raise InputError("the model made no picture", fix="check it with makar inspect")
    plain = np.array(picture.convert(MODES[channels]))
    return torch.from_numpy(np.ascontiguousarray(np.atleast_3d(plain).transpose(2, 0, 1)))
