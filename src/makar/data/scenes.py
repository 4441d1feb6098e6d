"""Scenes without end: each is a pure function of its number, and some combinations never occur in training.

Held out are 10% of all pairs of subject and accessory, of subject and place, and of accessory and place, and 10% of the
triples whose pairs are all seen. A cat with sunglasses in space is always such a triple: the parts are seen, in every
pair of them, and the whole never is.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, final

import numpy as np
from jaxtyping import UInt8

from makar.core.random import key_of, numpy_rng
from makar.data.scene_drawing import Sprites, draw
from makar.data.scene_things import ACCESSORIES, COLOURS, COUNTS, PLACES, POSITIONS, SIGNS, SUBJECTS, Scene
from makar.data.scene_words import caption_of

Part = Literal["seen", "triple", "pair"]
"""Which scenes: those of training, those of held-out triples whose pairs are seen, or those of held-out pairs."""

SHARE = 10
"""One in so many combinations is held out."""

MISSION = ("cat", "sunglasses", "space")
"""The triple that is held out whatever the hash says, while its pairs are seen."""

COUNT_SHARES = (0.7, 0.9)
"""Below the first a scene has one subject, below the second two, else three."""

BARE, SIGNED = 0.1, 0.1
"""Shares of scenes without an accessory, and with a sign."""


def held_out(scene: Scene) -> Part:
    """What keeps a scene out of training, if anything does.

    Returns:
        "pair" if one of its pairs is held out, else "triple" if its triple is, else "seen".
    """
    return part_of((scene.subject, scene.accessory, scene.place))


@lru_cache(maxsize=8192)
def part_of(names: tuple[str, str | None, str]) -> Part:
    """What keeps a subject, an accessory and a place out of training, if anything does."""
    if any(out(one, other) for one, other in pairs_of(names)):
        return "pair"
    triple = names[1] is not None and (names == MISSION or out(*names))
    return "triple" if triple else "seen"


def pairs_of(names: Sequence[str | None]) -> list[tuple[str, str]]:
    """The pairs of a subject, an accessory and a place; without an accessory there is only one."""
    subject, accessory, place = names
    assert subject is not None
    assert place is not None
    return [(subject, place)] + ([] if accessory is None else [(subject, accessory), (accessory, place)])


def out(*names: str | None) -> bool:
    """Whether a combination is among the held-out ones, by the hash of its names."""
    kept = len(names) == 2 and set(names) <= set(MISSION)
    return not kept and key_of("held out", *map(str, names)) % SHARE == 0


def scene_of(index: int, seed: int, part: Part = "seen") -> Scene:
    """A scene by its number.

    Args:
        index: From 0, without end.
        seed: Of the whole stream: another seed gives other scenes.
        part: Which combinations it may show.
    """
    rng = numpy_rng(seed, "scene", part, index)
    while True:
        found = drawn(rng)
        if held_out(found) == part:
            return found


def siblings_of(index: int, seed: int, part: Part, count: int) -> tuple[list[Scene], set[str]]:
    """A scene and others that differ from it in one attribute each: a contrast that only little things decide.

    Args:
        index: Of the group.
        seed: Of the stream.
        part: Which combinations they may show.
        count: Scenes in the group, 1 to `SIBLINGS`.

    Returns:
        The scenes, and the attributes in which any two of them differ.
    """
    first, rng = scene_of(index, seed, part), numpy_rng(seed, "siblings", part, index)
    found, changed = [first], set[str]()
    for name in rng.permutation(list(CHANGES)):
        others = [] if getattr(first, name) is None else [but(first, name, value) for value in CHANGES[name]]
        others = [scene for scene in others if scene != first and held_out(scene) == part]
        if len(found) < count and others:
            found.append(others[int(rng.integers(len(others)))])
            changed.add(name)
    return found, changed


def but(scene: Scene, name: str, value: Any) -> Scene:
    """A scene with another value of an attribute; where there come to be several, or one, sides go or begin."""
    if name != "count":
        return replace(scene, **{name: value})
    return replace(scene, count=value, position=None if value > 1 else scene.position or "middle")


def drawn(rng: np.random.Generator) -> Scene:
    """Any scene."""
    pick = rng.random(8)
    bare = pick[0] < BARE
    count = 1 + int(np.searchsorted(COUNT_SHARES, pick[1], "right"))
    return Scene(
        subject=chosen(pick[2], SUBJECT_NAMES),
        accessory=None if bare else chosen(pick[3], ACCESSORY_NAMES),
        place=chosen(pick[4], PLACE_NAMES),
        colour=None if bare else chosen(pick[5], COLOUR_NAMES),
        count=count,
        position=chosen(pick[6], POSITION_NAMES) if count == 1 else None,
        sign=chosen(pick[7] / SIGNED, SIGNS) if pick[7] < SIGNED else None,
    )


SUBJECT_NAMES, ACCESSORY_NAMES, PLACE_NAMES = tuple(SUBJECTS), tuple(ACCESSORIES), tuple(PLACES)
COLOUR_NAMES, POSITION_NAMES = tuple(COLOURS), tuple(POSITIONS)


CHANGES: dict[str, tuple[Any, ...]] = {
    "subject": SUBJECT_NAMES,
    "accessory": ACCESSORY_NAMES,
    "place": PLACE_NAMES,
    "colour": COLOUR_NAMES,
    "position": POSITION_NAMES,
    "count": tuple(COUNTS),
}
"""In what siblings can differ."""

SIBLINGS = 4
"""Scenes in a group at most: one without an accessory that has several subjects can be changed in three ways."""


def scene_seed(seed: int, name: str) -> int:
    """The seed of one of the streams of scenes that belong to a recipe's seed.

    Args:
        seed: The recipe's.
        name: "train" or "valid", or what else the scenes are for.
    """
    return key_of(seed, "scenes", name)


def chosen(share: float, names: Sequence[str]) -> str:
    """The name at a place between 0 and 1."""
    return names[int(share * len(names))]


@final
class Scenes:
    """Pictures of scenes with captions, of random access and without end.

    Args:
        sprites: The emoji that they are made of.
        size: Side of a picture in pixels, 32 to 128.
        seed: Of the stream.
        part: Which combinations they may show.
        siblings: How many in a row differ from the first of them in one attribute each, which their captions then say.
    """

    def __init__(self, sprites: Sprites, size: int, seed: int, part: Part = "seen", siblings: int = 1) -> None:
        assert 1 <= siblings <= SIBLINGS, siblings
        self.sprites, self.size, self.seed, self.siblings = sprites, size, seed, siblings
        self.part: Part = part

    def scene(self, index: int) -> Scene:
        """What the picture of a number shows."""
        return self.told(index)[0]

    def told(self, index: int) -> tuple[Scene, set[str]]:
        """What the picture of a number shows, and which attributes its caption must say."""
        group, place = divmod(index, self.siblings)
        scenes, changed = siblings_of(group, self.seed, self.part, self.siblings)
        return scenes[place], changed

    def row(self, index: int) -> tuple[UInt8[np.ndarray, "3 size size"], str, Scene]:
        """A picture, what is said of it, and what it shows.

        Args:
            index: From 0, without end.
        """
        scene, changed = self.told(index)
        pick = key_of(self.seed, "look", index)
        return draw(scene, pick, self.sprites, self.size), caption_of(scene, pick, changed), scene
