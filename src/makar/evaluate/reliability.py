"""How far a judge of scenes can be trusted: how often it is right, and what it passes that it should not."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from makar.core.nouns import Model
from makar.core.random import key_of, numpy_rng
from makar.data.scene_drawing import Sprites, draw
from makar.data.scene_faults import FAULTS, looks
from makar.data.scene_things import Scene
from makar.data.scenes import scene_of
from makar.evaluate.judge import ANSWERS, PARTS, UNKNOWN, Verdicts, answers_to, judged, wanted_of
from makar.evaluate.report import Figure, Section
from makar.nets.judge import PictureJudge

FRESH = 2000
"""Scenes that the judge is tried on."""

SPOILT = 300
"""Malformed pictures of each kind that it is tried on."""

FRESH_SEED = key_of("reliability")
"""Of scenes that neither a judge nor a model learned from."""


@dataclass(frozen=True)
class Trial:
    """Scenes that nobody learned from, and what a judge says of them.

    Args:
        scenes: What each picture shows.
        verdicts: Of the judge.
    """

    scenes: list[Scene]
    verdicts: Verdicts


def reliability_section(judge: Model[PictureJudge], sprites: Sprites, size: int) -> Section:
    """The judge on fresh scenes of seen and unseen combinations, on requests for others, and on malformed pictures."""
    drawn = (scene_of(place, FRESH_SEED, PARTS[place % len(PARTS)]) for place in range(FRESH))
    scenes = [replace(scene, sign=None) for scene in drawn]  # nobody asks for signs
    pictures = stacked(lambda place: draw(scenes[place], key_of(FRESH_SEED, place), sprites, size), FRESH)
    trial = Trial(scenes, judged(judge, pictures))
    accuracy = trial.verdicts.right([answers_to(scene) for scene in scenes])
    figures = {
        name: Figure(
            f"the {name}",
            {"right": share(right, known(trial, name)), "passes another": passes_another(trial, name)},
            "%",
        )
        for name, right in accuracy.items()
    }
    whole = trial.verdicts.passed([wanted_of(scene) for scene in scenes])
    others = [passes_another(trial, name) for name in ANSWERS]
    figures["all"] = Figure(
        "of a well-formed scene; of one attribute that is not what was asked",
        {"right": share(whole), "passes another": sum(others) / len(others)},
        "%",
    )
    for kind in FAULTS:
        spoilt = stacked(lambda place, kind=kind: spoilt_picture(kind, place, sprites, size), SPOILT)
        passed = share(judged(judge, spoilt).well_formed)
        figures[f"malformed: {kind}"] = Figure(
            "pictures that are none of a scene", {"right": 1 - passed, "passes another": passed}, "%"
        )
    figures["pictures"] = Figure(
        "fresh scenes; malformed ones of each kind", {"right": FRESH, "passes another": SPOILT}
    )
    return Section(
        "The judge itself",
        "On scenes that it did not learn from, a quarter each of unseen triples and pairs: how often it is right, and "
        "how often it lets pass a picture of which one attribute is not what was asked, or a malformed picture. A "
        "model's figures can be wrong by as much.",
        figures,
    )


def passes_another(trial: Trial, name: str) -> float:
    """How often a scene passes for a request that differs from it in one attribute."""
    asked = list[dict[str, int]]()
    for place, scene in enumerate(trial.scenes):
        wanted = wanted_of(scene)
        if wanted[name] != UNKNOWN:
            first = 1 if name == "accessory" else 0  # nobody asks for nothing
            rest = [answer for answer in range(first, len(ANSWERS[name])) if answer != wanted[name]]
            wanted = {**wanted, name: int(numpy_rng("another", name, place).choice(rest))}
        asked.append(wanted)
    return share(trial.verdicts.passed(asked), known(trial, name))


def known(trial: Trial, name: str) -> Tensor:
    """Which scenes have an attribute that can be asked for."""
    return torch.tensor([wanted_of(scene)[name] != UNKNOWN for scene in trial.scenes])


def spoilt_picture(kind: str, place: int, sprites: Sprites, size: int) -> UInt8[np.ndarray, "3 size size"]:
    """A malformed picture that nobody learned from."""
    scene = replace(scene_of(place, FRESH_SEED), sign=None)
    return FAULTS[kind](scene, key_of(FRESH_SEED, place), looks(sprites, size), numpy_rng(FRESH_SEED, kind, place))


def stacked(make: Callable[[int], np.ndarray], count: int) -> UInt8[Tensor, "rows 3 size size"]:
    """So many pictures."""
    return torch.from_numpy(np.stack([make(place) for place in range(count)]))


def share(right: Tensor, among: Tensor | None = None) -> float:
    """The share of what is true, of all or among some."""
    chosen = right if among is None else right[among]
    return float(chosen.double().mean())
