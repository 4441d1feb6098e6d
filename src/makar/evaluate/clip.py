"""The whole evaluation of a CLIP: how pictures and texts find each other, and how it names what it sees."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from makar.core.errors import InputError
from makar.core.nouns import Model
from makar.core.say import Say
from makar.data.dataset import Dataset
from makar.data.fetch import fetch
from makar.data.pixels import PixelShards, kept_pixels
from makar.data.scene_drawing import EMOJI, sprites_of
from makar.data.scenes import scene_seed
from makar.data.store import SPLITS
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.held import measurable
from makar.evaluate.report import Report, Section
from makar.evaluate.retrieval import (
    OPTIONS,
    ROWS,
    Told,
    Vectors,
    named_section,
    retrieval_figures,
    scene_sections,
    told_vectors,
)
from makar.families.clip.build import captions_of
from makar.families.clip.sample import AT_ONCE
from makar.families.clip.score import seen

FIND = ("retrieval", "zeroshot")
"""Suites of a dataset."""


def evaluate_clip(
    model: Model[Any], dataset: Dataset | None, options: EvaluateOptions, *, name: str, say: Say
) -> Report:
    """Measure a CLIP on a dataset of pictures with texts or classes, or on scenes.

    Args:
        model: With its tokenizer.
        dataset: Whose held-out split is looked among; scenes need none.
        options: What is measured.
        name: What the report calls the model.
        say: Told what is being done.

    Raises:
        ModelError: The model has no tokenizer.
        InputError: The dataset has neither texts nor classes, or a suite measures no CLIP.
    """
    captions_of(model)
    for suite in options.suites:
        if suite not in (*FIND, "scenes"):
            raise InputError("the suite measures no CLIP", value=suite, fix=f"there are: {', '.join(FIND)}, scenes")
    if "scenes" in options.suites:
        if options.documents is not None and options.documents < OPTIONS:
            fix = f"give {OPTIONS} or more: that many captions are chosen from"
            raise InputError("too few scenes", where="documents", value=options.documents, fix=fix)
        sprites = sprites_of(fetch(EMOJI))
        seed = scene_seed(options.seed, "asked")
        sections = scene_sections(model, sprites, seed=seed, count=options.documents, say=say)
        return report(model, None, options, sections, name)
    dataset = measurable(dataset, ("retrieval",), options.split)
    facts = dataset.manifest.pictures
    assert facts is not None, "measurable lets no other dataset pass"
    can = {"retrieval": bool(facts.captions), "zeroshot": len(facts.classes) > 1}
    wanted = options.suites or [suite for suite in FIND if can[suite]]
    for suite in wanted:
        if not can[suite]:
            fix = "name a dataset with captions" if suite == "retrieval" else "name one with classes"
            raise InputError(f"the dataset has nothing for the suite {suite!r}", where=dataset.path, fix=fix)
    if not wanted:
        fix = "name one that has, with --data"
        raise InputError("the dataset has neither captions nor classes", where=dataset.path, fix=fix)
    sections: dict[str, Section] = {}
    if "retrieval" in wanted:
        sections |= found_sections(model, dataset, options, say)
    if "zeroshot" in wanted:
        shards = pixels_of(model, dataset, options.split, captioned=False, say=say)
        labels = torch.from_numpy(np.array(shards.labels))
        rows = evenly(np.flatnonzero(labels.numpy() >= 0), options.documents)
        right = labels[torch.from_numpy(rows)].to(model.device)
        sections["zeroshot"] = named_section(model, vectors_of(model, shards, rows), right, shards.classes)
    return report(model, dataset, options, sections, name)


def found_sections(model: Model[Any], dataset: Dataset, options: EvaluateOptions, say: Say) -> dict[str, Section]:
    """Retrieval among held-out pictures, and among those whose text was never trained on.

    Of a dataset that is not the training's all pictures are held out.
    """
    splits = [options.split] if options.training is None else [split for split in SPLITS if kept(dataset, split)]
    shards = [pixels_of(model, dataset, split, captioned=True, say=say) for split in splits]
    found = told_rows(model, shards, lambda caption: True, options.documents or ROWS)  # noqa: ARG005
    note = (
        "Each text looks for its picture among all {count:,}, and each picture for its text; equal texts find each "
        "other's. Chance is a random order, and p how likely so many hits are by it."
    )
    about = note.format(count=len(found.captions))
    sections = {"retrieval": Section("Retrieval", about, retrieval_figures(found))}
    if options.training is None:
        return sections
    learned = {picture.text.lower() for picture in Dataset.open(options.training).pictures("train") if picture.text}
    apart = told_rows(model, shards, lambda caption: caption.lower() not in learned, options.documents or ROWS)
    if len(apart.captions) > 1:
        about = f"Only pictures whose text does not stand in the training split of {options.training}. "
        about += note.format(count=len(apart.captions))
        title = "Retrieval of what no text of the training named"
        sections["retrieval_new"] = Section(title, about, retrieval_figures(apart))
    return sections


def kept(dataset: Dataset, split: str) -> bool:
    """Whether a split has pictures."""
    return dataset.manifest.kept[split].documents > 0


def told_rows(model: Model[Any], parts: Sequence[PixelShards], wanted: Callable[[str], bool], count: int) -> Told:
    """Pictures and texts of some splits, evenly spaced where there are many.

    Args:
        model: A CLIP.
        parts: Pictures with captions.
        wanted: Whether a caption's picture is taken.
        count: At most.
    """
    places = [
        (part, row) for part, shards in enumerate(parts) for row, text in enumerate(shards.captions) if wanted(text)
    ]
    chosen = [places[place] for place in evenly(np.arange(len(places)), count)]
    if not chosen:
        return Told(torch.empty(0, 1), torch.empty(0, 1), [])
    rows = [np.array([row for part, row in chosen if part == number], np.int64) for number in range(len(parts))]
    pictures = [vectors_of(model, shards, some) for shards, some in zip(parts, rows, strict=True) if len(some)]
    return told_vectors(model, torch.cat(pictures), [parts[part].captions[row] for part, row in chosen])


def pixels_of(model: Model[Any], dataset: Dataset, split: str, *, captioned: bool, say: Say) -> PixelShards:
    """A split at the size that the model sees; where no picture is that large, at that of the smallest."""
    vision: Any = model.config.vision  # pyright: ignore[reportAttributeAccessIssue]: of a CLIP
    facts, side = dataset.manifest.pictures, vision.image_size
    if facts is not None and min(facts.largest) < side and dataset.manifest.options.pictures.fit == "crop":
        side = min(facts.smallest)  # `seen` enlarges them
    return kept_pixels(dataset, split, side, vision.num_channels, captioned=captioned, say=say)


@torch.inference_mode()
def vectors_of(model: Model[Any], shards: PixelShards, rows: np.ndarray) -> Vectors:
    """What a model makes of some pictures."""
    found: list[Vectors] = []
    for start in range(0, len(rows), AT_ONCE):
        images = torch.from_numpy(np.ascontiguousarray(shards.take(rows[start : start + AT_ONCE]))).float() / 127.5 - 1
        found.append(seen(model, images.to(model.device)))
    return torch.cat(found)


def evenly(rows: np.ndarray, count: int | None) -> np.ndarray:
    """So many of some rows, evenly spaced; all, where there are no more."""
    if count is None or count >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def report(
    model: Model[Any], dataset: Dataset | None, options: EvaluateOptions, sections: dict[str, Section], name: str
) -> Report:
    """The report of some sections."""
    settings = {**options.model_dump(mode="json"), "suites": list(sections), "generation": dict(model.generation)}
    path, content = (str(dataset.path), dataset.hash) if dataset else ("", "")
    return Report(name, path, content, settings, sections, samples=())
