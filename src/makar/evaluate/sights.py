"""What a model says of scenes, beside what they show: exact answers by kind, on seen combinations and on others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from makar.codecs.pixels import to_picture
from makar.core.config import parse
from makar.core.errors import InputError
from makar.core.nouns import Model, Request
from makar.core.say import Say
from makar.data.fetch import fetch
from makar.data.scene_drawing import EMOJI, Sprites, sprites_of
from makar.data.scene_questions import questions_of
from makar.data.scenes import Part, Scenes, scene_seed
from makar.engine.run import Engine
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.report import Figure, Report, Section
from makar.evaluate.rows import over_rows

PARTS: dict[Part, str] = {"seen": "seen", "triple": "of unseen triples", "pair": "of unseen pairs"}
"""Which scenes are asked about, and how they are called."""

SCENES = 200
"""Scenes of each part, if the options do not say."""

TOGETHER = 64
"""Questions that are answered in one batch."""

GREEDY: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 40}
"""How answers are written: the likeliest token each time."""


@dataclass(frozen=True)
class Answered:
    """A question about a scene, and what was answered.

    Args:
        question: What was asked.
        wanted: The right answer.
        kind: Of the question.
        said: What the model answered.
    """

    question: str
    wanted: str
    kind: str
    said: str

    @property
    def right(self) -> bool:
        """Whether the answer is the right one, word for word."""
        return self.said.strip() == self.wanted


def answered(model: Model[Any], scenes: Scenes, count: int) -> list[Answered]:
    """Everything that can be asked about the first scenes of a stream, each question by itself.

    Args:
        model: That sees and talks.
        scenes: The stream.
        count: Scenes.
    """
    asked = list(questions(scenes, count))
    settings = parse(model.family.settings, GREEDY, "generation settings")
    requests = [Request({"image": picture, "text": question}, 0, settings) for picture, question, _, _ in asked]
    said: list[str] = []
    for first in range(0, len(requests), TOGETHER):
        said += [answer.data or "" for answer in Engine(model).generate(requests[first : first + TOGETHER])]
    return [
        Answered(question, wanted, kind, each) for (_, question, wanted, kind), each in zip(asked, said, strict=True)
    ]


def questions(scenes: Scenes, count: int) -> Iterator[tuple[Any, str, str, str]]:
    """Pictures, what is asked about them, the answers and the kinds."""
    for number in range(count):
        pixels, _, scene = scenes.row(number)
        picture = to_picture(torch.from_numpy(pixels).float() / 127.5 - 1)
        for question, answer, kind in questions_of(scene, number):
            yield picture, question, answer, kind


def by_kind(found: Sequence[Answered]) -> dict[str, list[Answered]]:
    """All answers, those of each kind, and of several absent things also together."""
    kinds = {"all": list(found)}
    for each in found:
        for kind in dict.fromkeys((each.kind.partition("_")[0], each.kind)):
            kinds.setdefault(kind, []).append(each)
    return kinds


def shares(found: Sequence[Answered]) -> dict[str, float]:
    """The share of right answers of all, and of each kind."""
    return {kind: sum(each.right for each in of) / len(of) for kind, of in by_kind(found).items()}


def evaluate_sights(model: Model[Any], options: EvaluateOptions, *, name: str, say: Say) -> Report:
    """Measure a model that sees and talks: what it says of scenes.

    Args:
        model: With its tokenizer.
        options: How many scenes of each part (`documents`), and their seed.
        name: What the report calls the model.
        say: Told what is being done.

    Raises:
        InputError: A suite is asked for that needs another kind of model.
        UserError: The emoji cannot be had.
    """
    other = next((suite for suite in options.suites if suite != "scenes"), None)
    if other is not None or not options.suites:
        fix = "name the suite 'scenes': exact answers to questions about them"
        raise InputError("what a model that sees is measured on", where="suite", value=other, fix=fix)
    section = sights(model, sprites_of(fetch(EMOJI)), seed=options.seed, count=options.documents, say=say)
    settings = {**options.model_dump(mode="json"), "suites": options.suites, "generation": GREEDY}
    return Report(model=name, dataset="", dataset_hash="", settings=settings, sections={"scenes": section}, samples=())


def sights(model: Model[Any], sprites: Sprites, *, seed: int, count: int | None, say: Say) -> Section:
    """The suite: questions about scenes that the model has never seen, by kind and by what is new in them.

    Args:
        model: That sees and talks.
        sprites: The emoji of the scenes.
        seed: Of the scenes, which belong to no training.
        count: Scenes of each part.
        say: Told what is being done.
    """
    size = model.config.vision.image_size  # pyright: ignore[reportAttributeAccessIssue]: of a family that sees
    figures: dict[str, Figure] = {}
    for part, words in PARTS.items():
        scenes = Scenes(sprites, size, scene_seed(seed, "asked"), part)
        found = answered(model, scenes, SCENES if count is None else count)
        say(f"{len(found):,} questions about scenes {words}")
        for kind, answers in by_kind(found).items():
            rows = [float(each.right) for each in answers]
            meaning = f"right answers to {'all' if kind == 'all' else repr(kind)} questions, scenes {words}"
            figures[f"{part}_{kind}"] = over_rows(meaning, {"model": rows}, "%")
    note = (
        "Questions about scenes of another seed, each asked by itself, with temperature 0; an answer is right if it is "
        "the expected one word for word. 'absent' asks after what is not there: the right answer is no."
    )
    return Section("Sights", note, figures)
