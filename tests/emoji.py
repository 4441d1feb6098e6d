"""A set of emoji as scenes are composed of: coloured discs, each its own, in files named after code points."""

import numpy as np
from PIL import Image

from makar.data.scene_ground import GROUND_CODES
from makar.data.scene_things import ACCESSORIES, SUBJECTS

CODES = (*(thing.code for thing in (*SUBJECTS.values(), *ACCESSORIES.values())), *GROUND_CODES)


def draw_set(folder, side=24):
    """Fill a folder; the same discs each time."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    rng = np.random.default_rng(0)
    for code in dict.fromkeys(CODES):
        pixels = np.zeros((side, side, 4), np.uint8)
        wide, high = rng.uniform(0.5, 1, 2) * side / 2
        pixels[(x / wide) ** 2 + (y / high) ** 2 <= 1] = (*rng.integers(0, 256, 3), 255)
        Image.fromarray(pixels).save(folder / f"{code}.png")
    return folder
