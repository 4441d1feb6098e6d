"""Pictures that are no scenes, though they look like some: what a judge must not let pass."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from makar.data.scene_drawing import Sprites, draw
from makar.data.scene_things import ACCESSORIES, PLACES, SUBJECTS, Scene
from makar.data.scene_words import other
from makar.data.scenes import scene_of

Picture = UInt8[np.ndarray, "3 size size"]

Look = Callable[[Scene, int], Picture]
"""Draws a scene, in one of its many ways."""

Fault = Callable[[Scene, int, Look, np.random.Generator], Picture]
"""A scene, and which picture of it, to a picture that is none."""


def chimera(scene: Scene, look: int, picture: Look, rng: np.random.Generator) -> Picture:
    """Two subjects, or two accessories, in one place at once."""
    swapped = replace(scene, subject=other(scene.subject, tuple(SUBJECTS), rng.random()))
    if scene.accessory is not None and rng.random() < 0.3:
        swapped = replace(scene, accessory=other(scene.accessory, tuple(ACCESSORIES), rng.random()))
    return mixed(picture(scene, look), picture(swapped, look), rng.uniform(0.35, 0.65))


def blend(scene: Scene, look: int, picture: Look, rng: np.random.Generator) -> Picture:
    """Two scenes at once."""
    return mixed(picture(scene, look), another(scene, picture, rng), rng.uniform(0.35, 0.65))


def pasted(scene: Scene, look: int, picture: Look, rng: np.random.Generator) -> Picture:
    """A half of one scene beside, or above, that of another."""
    found, edge = picture(scene, look).copy(), rng.uniform(0.35, 0.65)
    axis, border = int(rng.integers(1, 3)), round(edge * found.shape[1])
    part = (slice(None), slice(border, None)) if axis == 1 else (slice(None), slice(None), slice(border, None))
    found[part] = another(scene, picture, rng)[part]
    return found


def noisy(scene: Scene, look: int, picture: Look, rng: np.random.Generator) -> Picture:
    """A scene under noise."""
    found = picture(scene, look)
    return bounded(found + rng.uniform(40, 110) * rng.standard_normal(found.shape))


def blurred(scene: Scene, look: int, picture: Look, rng: np.random.Generator) -> Picture:
    """A scene of which only patches of colour are left."""
    from PIL import Image

    found = picture(scene, look)
    side, few = found.shape[1], int(rng.integers(4, 8))
    image = Image.fromarray(found.transpose(1, 2, 0)).resize((few, few), Image.Resampling.BOX)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def scrambled(scene: Scene, look: int, picture: Look, rng: np.random.Generator) -> Picture:
    """A scene cut into tiles that lie in no order."""
    found = picture(scene, look)
    tiles = int(rng.choice((2, 4)))
    side = found.shape[1] // tiles
    cut = found.reshape(3, tiles, side, tiles, side).transpose(1, 3, 0, 2, 4).reshape(-1, 3, side, side)
    order = rng.permutation(len(cut))
    order = np.roll(order, 1) if (order == np.arange(len(cut))).all() else order
    cut = cut[order].reshape(tiles, tiles, 3, side, side)
    return cut.transpose(2, 0, 3, 1, 4).reshape(found.shape)


FAULTS: Mapping[str, Fault] = {
    "chimera": chimera,
    "blend": blend,
    "pasted": pasted,
    "noisy": noisy,
    "blurred": blurred,
    "scrambled": scrambled,
}
"""Every way in which a picture is malformed."""


def looks(sprites: Sprites, size: int) -> Look:
    """What draws scenes of an emoji set at a size."""
    return lambda scene, way: draw(scene, way, sprites, size)


def another(scene: Scene, picture: Look, rng: np.random.Generator) -> Picture:
    """The picture of a scene in another place."""
    number = int(rng.integers(2**31))
    found = replace(scene_of(number, 0), place=other(scene.place, tuple(PLACES), rng.random()))
    return picture(found, number)


def mixed(one: Picture, two: Picture, share: float) -> Picture:
    """Two pictures at once."""
    return bounded(share * one + (1 - share) * two.astype(np.float32))


def bounded(values: np.ndarray) -> Picture:
    """Values as bytes."""
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
