"""What a model makes of requests for scenes, some of combinations that it never saw, as a judge sees it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from makar.core.config import Config, parse
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Model, Request, TextEncoder
from makar.core.random import key_of, numpy_rng
from makar.core.say import Say
from makar.data.fetch import fetch
from makar.data.scene_drawing import EMOJI, Sprites, draw, sprites_of
from makar.data.scene_things import Scene
from makar.data.scene_words import UNSAID, tell
from makar.data.scenes import MISSION, Part, Scenes, scene_of, scene_seed
from makar.engine.run import Engine
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.features import FeatureNetwork
from makar.evaluate.judge import ANSWERS, UNKNOWN, Verdicts, judge_of, judged, wanted_of
from makar.evaluate.picture_suites import sheet
from makar.evaluate.pictures import TOGETHER, bytes_of
from makar.evaluate.reliability import reliability_section, share, stacked
from makar.evaluate.report import Figure, Report, Section, Value
from makar.families.settings import square
from makar.measure.frechet import frechet_distance
from makar.measure.neighbours import nearest, share_nearer

SAMPLES = 400
"""Requests of each part, if the options do not say."""

PROMPT, SEEDS = "A cat wearing sunglasses in space", 64
"""A request that no model has seen the like of, and how often it is made."""

LOOKED_AMONG, BLOCK = 100_000, 2500
"""Training pictures that copies are looked for among, at most, and how many at once."""

COPY = 0.01
"""A picture counts as a copy where it is nearer to a training picture than this share of fresh scenes are."""

COLUMNS = {"seen": "seen", "triple": "unseen triples", "pair": "unseen pairs"}
"""What the report calls the parts."""

SHOWN = 16
"""Pictures in a row of a sheet."""


@dataclass(frozen=True)
class Asked:
    """A request for a scene.

    Args:
        prompt: In words.
        scene: What a picture of it may show.
        wanted: The answers that a judge must give, as `wanted_of` has them.
    """

    prompt: str
    scene: Scene
    wanted: dict[str, int]


def requests_of(part: Part, count: int, seed: int) -> list[Asked]:
    """Requests for scenes of a part; colour and position are left unsaid as often as in captions.

    Args:
        part: Of seen combinations, or of held-out ones.
        count: How many.
        seed: Of the scenes.
    """
    found: list[Asked] = []
    for place in range(count):
        scene = replace(scene_of(place, seed, part), sign=None)
        colour, position = numpy_rng(seed, "asked", place).random(2)
        told = replace(
            scene,
            colour=None if colour < UNSAID["colour"] else scene.colour,
            position=None if position < UNSAID["position"] else scene.position,
        )
        found.append(Asked(tell(told), scene, wanted_of(told)))
    return found


def mission(count: int) -> list[Asked]:
    """The request for the held-out triple, so many times."""
    subject, accessory, place = MISSION
    told = Scene(subject, accessory, place, colour=None)
    scene = replace(told, colour="black", position="middle")
    return [Asked(PROMPT, scene, wanted_of(told))] * count


def pictures_of(
    model: Model[Any], asked: Sequence[Asked], settings: Config, seed: int, say: Say
) -> UInt8[Tensor, "rows 3 high wide"]:
    """What a model makes of requests, some at a time."""
    found: list[Tensor] = []
    for begin in range(0, len(asked), TOGETHER):
        some = asked[begin : begin + TOGETHER]
        requests = [Request(each.prompt, seed + begin + k, settings) for k, each in enumerate(some)]
        found += [bytes_of(answer.data, 3) for answer in Engine(model).generate(requests)]
        if begin + TOGETHER < len(asked):
            say(f"{len(found):,} of {len(asked):,} pictures made")
    return torch.stack(found)


def evaluate_scenes(model: Model[Any], options: EvaluateOptions, *, name: str, say: Say) -> Report:
    """Measure a model that makes pictures of texts on scenes.

    Args:
        model: With its reader of texts.
        options: How many requests of each part, how pictures are drawn, and the seed of the model's own recipe.
        name: What the report calls the model.
        say: Told what is being done.

    Raises:
        ModelError: The model makes no pictures of texts.
        InputError: Other suites are asked for at once.
    """
    check(model, options)
    sprites = sprites_of(fetch(EMOJI))
    judge = judge_of(sprites, say)
    settings = square(parse(model.family.settings, {**model.generation, **options.generation}, "generation settings"))
    count, seed = options.samples or SAMPLES, scene_seed(options.seed, "asked")
    parts: list[Part] = ["seen", "triple", "pair"]
    asked = {COLUMNS[part]: requests_of(part, count, seed) for part in parts} | {"mission": mission(SEEDS)}
    made: dict[str, Tensor] = {}
    for whose, requests in asked.items():
        say(f"making {len(requests):,} pictures: {whose}")
        made[whose] = pictures_of(model, requests, settings, options.seed, say)
    size = made["seen"].shape[-1]
    fresh = drawn(asked["seen"], sprites, size)
    rows = {**made, "fresh scenes": fresh}
    verdicts = {whose: judged(judge, pictures) for whose, pictures in rows.items()}
    wanted = {whose: [each.wanted for each in requests] for whose, requests in asked.items()}
    wanted["fresh scenes"] = wanted["seen"]
    seeing = FeatureNetwork("FD-scenes", "the judge of scenes", judge.net.features)
    distances = {whose: distance(seeing, rows[whose], asked[whose], sprites) for whose in COLUMNS.values()}
    say("trying the judge itself, and looking for copies")
    learned = options.training_rows or LOOKED_AMONG
    training = Scenes(sprites, size, scene_seed(options.training_seed, "train"), siblings=options.siblings)
    sections = {
        "scenes": judged_section(verdicts, wanted, distances),
        "judge": reliability_section(judge, sprites, size),
        "copies": copies_section({whose: made[whose] for whose in COLUMNS.values()}, fresh, training, learned),
    }
    sheets = {whose.replace(" ", "-"): sheet(list(pictures[:64].split(SHOWN))) for whose, pictures in rows.items()}
    return Report(
        model=name,
        dataset="",
        dataset_hash="",
        settings={
            **options.model_dump(mode="json"),
            "samples": count,
            "emoji": sprites.hash,
            "generation": settings.model_dump(mode="json"),
        },
        sections=sections,
        samples=tuple(each.prompt for each in asked["seen"][:SHOWN]),
        pictures=sheets,
    )


def check(model: Model[Any], options: EvaluateOptions) -> None:
    """Refuse what makes no pictures of texts.

    Raises:
        ModelError: The model does not.
        InputError: Other suites are asked for at once.
    """
    if not isinstance(model.parts.get("text"), TextEncoder) or model.family.sampler is None:
        what, fix = "it makes no pictures of texts", "measure a model that was trained with parts = {text = '@clip'}"
        raise ModelError(what, value=model.family.name, fix=fix)
    if options.suites != ("scenes",):
        raise InputError("the suite 'scenes' needs no dataset, and others do", fix="run them one by one")


def drawn(asked: Sequence[Asked], sprites: Sprites, size: int) -> UInt8[Tensor, "rows 3 size size"]:
    """Fresh scenes, as requests ask for them."""
    return stacked(lambda place: draw(asked[place].scene, key_of("fresh", place), sprites, size), len(asked))


def distance(
    seeing: FeatureNetwork, made: UInt8[Tensor, "rows 3 size size"], asked: Sequence[Asked], sprites: Sprites
) -> float:
    """The Fréchet distance of what was made to fresh scenes of the same requests."""
    return frechet_distance(seeing.of(made), seeing.of(drawn(asked, sprites, made.shape[-1])))


def judged_section(
    verdicts: dict[str, Verdicts], wanted: dict[str, list[dict[str, int]]], distances: dict[str, float]
) -> Section:
    """How often each attribute, and all of them, are as asked."""
    rights = {whose: each.right(wanted[whose]) for whose, each in verdicts.items()}
    figures: dict[str, Figure] = {}
    for name in ANSWERS:
        among = {whose: torch.tensor([each[name] != UNKNOWN for each in rows]) for whose, rows in wanted.items()}
        values: dict[str, Value] = {
            whose: share(right[name], among[whose]) if bool(among[whose].any()) else None
            for whose, right in rights.items()
        }
        figures[name] = Figure(f"the {name} is as asked, where it was", values, "%")
    every = {whose: torch.stack(list(right.values())).all(0) for whose, right in rights.items()}
    formed = {whose: each.well_formed for whose, each in verdicts.items()}
    passed = {whose: right & formed[whose] for whose, right in every.items()}
    for name, meaning, found in (
        ("attributes", "everything that was asked is right", every),
        ("well_formed", "pictures that are scenes at all", formed),
        ("all", "everything that was asked is right, in a picture that is well-formed", passed),
    ):
        figures[name] = Figure(meaning, {whose: share(right) for whose, right in found.items()}, "%")
        errors = {whose: error_of(right) for whose, right in found.items()}
        figures[f"{name}_error"] = Figure("its standard error", errors, "%")
    figures["pictures"] = Figure("judged", {whose: len(right) for whose, right in every.items()})
    meaning = "Fréchet distance to fresh scenes of the same requests, by what the judge sees; lower is better"
    figures["frechet"] = Figure(meaning, dict(distances))
    return Section(
        "Scenes as asked",
        f'Unseen triples are of parts that were seen in every pair; of unseen pairs two never were. "mission" is '
        f'"{PROMPT}" over {SEEDS} seeds, such a triple. The last column are fresh scenes of the first column\'s '
        "requests: what the judge finds where everything is right.",
        figures,
    )


def error_of(right: Tensor) -> float:
    """The standard error of a share."""
    return (share(right) * (1 - share(right)) / len(right)) ** 0.5


def copies_section(
    made: Mapping[str, UInt8[Tensor, "_ 3 size size"]],
    fresh: UInt8[Tensor, "rows 3 size size"],
    training: Scenes,
    learned: int,
) -> Section:
    """How near what is made lies to training pictures, beside fresh scenes, which are no copies.

    Args:
        made: By whose requests they are of.
        fresh: Scenes that nobody learned from.
        training: What was learned from, from its beginning.
        learned: How many of these.
    """
    count, rows = min(learned, LOOKED_AMONG), {**made, "fresh scenes": fresh}
    found = nearest(torch.cat([flat(pictures) for pictures in rows.values()]), blocks(training, count))
    columns = dict(zip(rows, found.distance.split([len(pictures) for pictures in rows.values()]), strict=True))
    theirs = columns["fresh scenes"]
    limit = theirs.quantile(COPY)
    near = {whose: (each < limit) for whose, each in columns.items()}
    return Section(
        "Copies of training pictures",
        f"Each picture's nearest neighbour among {count:,} training pictures, by pixels (levels of 255, root of "
        f"the mean square). As near as a copy is what {COPY:.0%} of fresh scenes are: nearer than {float(limit):.2f}.",
        {
            "as_near_as_copies": Figure(
                "share that is as near as a copy", {whose: share(each) for whose, each in near.items()}, "%"
            ),
            "as_near_error": Figure("its standard error", {whose: error_of(each) for whose, each in near.items()}, "%"),
            "nearer": Figure(
                "how often a picture is nearer to a training picture than a fresh scene is",
                {**{whose: share_nearer(columns[whose], theirs) for whose in made}, "fresh scenes": 0.5},
                "%",
            ),
            "median": Figure("median distance", {whose: float(each.median()) for whose, each in columns.items()}),
            "pictures": Figure("looked for", {whose: len(each) for whose, each in columns.items()}),
            "learned": Figure(
                "training pictures; the first of them are looked among",
                {"looked among": count, "learned from": learned},
            ),
        },
    )


def flat(pixels: UInt8[Tensor, "rows 3 size size"]) -> Float[Tensor, "rows values"]:
    """Each picture as one row."""
    return pixels.flatten(1).float()


def blocks(training: Scenes, count: int) -> Iterator[Float[Tensor, "rows values"]]:
    """The first training pictures, some at a time."""
    for begin in range(0, count, BLOCK):
        rows = range(begin, min(begin + BLOCK, count))
        yield flat(torch.from_numpy(np.stack([training.row(row)[0] for row in rows])))
