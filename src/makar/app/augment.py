"""More pictures of the same kinds: what lies between two pictures of a class, for a dataset that is too small."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from makar.core.errors import InputError
from makar.core.random import numpy_rng
from makar.core.say import Say

if TYPE_CHECKING:
    from makar.core.nouns import Model
    from makar.data.dataset import Dataset
    from makar.data.document import Picture
    from makar.data.store import Manifest

AT_ONCE = 512
"""Pictures that are made together."""

REACH = (0.1, 0.5)
"""How far a new picture is from one picture towards another of its class: never nearer to the other."""

VARIATION = 0.3
"""How far it is from a picture of no class."""


@dataclass(frozen=True)
class Plan:
    """One picture to make.

    Args:
        picture: To begin from.
        towards: Another of its class, if it has a class.
        share: How far to go to it.
        seed: Of the noise.
        id: Of the new one.
    """

    picture: "Picture"
    towards: "Picture | None"
    share: float
    seed: int
    id: str


def augment(
    model: "Model[Any]", dataset: "Dataset", out: Path, *, factor: int, seed: int, name: str, say: Say
) -> "Manifest":
    """A new dataset with `factor` times the training pictures; those that are new were made by a model.

    Args:
        model: That gives pictures back, and knows what lies between two.
        dataset: Of pictures of the model's size.
        out: The folder to make.
        factor: Above 1.
        seed: Of the pairs and of the noise.
        name: Of the model, for the data card.
        say: For the reader.

    Raises:
        UserError: The model makes no such pictures, or the dataset holds others.
    """
    from makar.core.tensors import hash_tensors
    from makar.data.extend import extend
    from makar.data.store import SourceRecord

    check(model, dataset)
    source = SourceRecord(
        name=f"made:{name}",
        sha256=hash_tensors(model.net.state_dict()),
        bytes=0,
        licence="made by a model from the other sources",
    )
    pictures = list(dataset.pictures("train"))
    say(f"{(factor - 1) * len(pictures):,} pictures to make")
    made = drawn(model, plans(pictures, factor, seed), source.name)
    manifest = extend(dataset, made, out, source)
    say(f"{out}: {manifest.kept['train'].documents:,} pictures to train on")
    return manifest


def check(model: "Model[Any]", dataset: "Dataset") -> None:
    """Refuse what cannot be.

    Raises:
        InputError: Says what to do.
    """
    facts, net = dataset.manifest.pictures, getattr(model.config, "net", None)
    if model.family.name != "vae" or net is None:
        raise InputError("this model knows nothing between two pictures", value=model.family.name, fix="train a VAE")
    if facts is None:
        raise InputError("a dataset without pictures", where=dataset.path, fix="collect pictures")
    size = (net.sample_size, net.sample_size)
    if (facts.smallest, facts.largest, facts.channels) != (size, size, net.in_channels):
        fix = f"collect them with --size {net.sample_size}" if facts.channels == net.in_channels else "train another"
        value = f"{facts.smallest} to {facts.largest}, {facts.channels} channels"
        raise InputError("pictures of another size than the model's", where=dataset.path, value=value, fix=fix)


def plans(pictures: "Sequence[Picture]", factor: int, seed: int) -> Iterator[Plan]:
    """What to make: of each picture the same number, each towards another one of its class, drawn at random."""
    of_class: dict[int | None, list[int]] = {}
    for place, picture in enumerate(pictures):
        of_class.setdefault(picture.label, []).append(place)
    random = numpy_rng(seed, "augment")
    for place, picture in enumerate(pictures):
        others = [] if picture.label is None else of_class[picture.label]
        for number in range(1, factor):
            towards = None
            if len(others) > 1:
                drawn = others[int(random.integers(len(others) - 1))]
                towards = pictures[others[-1] if drawn == place else drawn]  # any but itself, each as often
            share = float(random.uniform(*REACH))
            yield Plan(picture, towards, share, seed + place * factor + number, f"{picture.id}#made-{number}")


def drawn(model: "Model[Any]", wanted: Iterator[Plan], source: str) -> "Iterator[Picture]":
    """The pictures, as rows of a dataset."""
    from makar.core.nouns import Request
    from makar.data.document import Picture
    from makar.data.pictures import to_png
    from makar.engine.run import Engine

    settings = model.family.settings.model_validate({**model.generation, "variation": 0.0})
    freely = model.family.settings.model_validate({**model.generation, "variation": VARIATION})
    while group := list(islice(wanted, AT_ONCE)):
        requests: list[Request] = []
        for plan in group:
            prompt: dict[str, Any] = {"image": values(plan.picture)}
            if plan.towards is not None:
                prompt["towards"] = (values(plan.towards), plan.share)
            requests.append(Request(prompt, plan.seed, freely if plan.towards is None else settings))
        for plan, answer in zip(group, Engine(model).generate(requests), strict=True):
            old = plan.picture
            yield Picture(to_png(answer.data), old.label, old.text, plan.id, old.group, source)


def values(picture: "Picture") -> Any:
    """A dataset's picture, of Pillow: makar wrote it itself."""
    from PIL import Image

    with Image.open(io.BytesIO(picture.image), formats=["PNG"]) as image:
        return Image.fromarray(np.asarray(image))
