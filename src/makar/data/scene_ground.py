"""The grounds of scenes: shapes and emoji, a few variants of each place, drawn once and cut differently each time."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from makar.core.random import numpy_rng

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]

VARIANTS = 24
"""Grounds of each place: each is also cut, mirrored and lit at random."""

MARGIN = 1.25
"""How much wider a ground is than the picture cut out of it."""

FINER = 4
"""Grounds are drawn so much larger and made smaller, which smooths their edges."""

GROUND_CODES = (
    "1fa90", "1f680", "1f334", "1f41a", "1f332", "1f333", "1f335", "1f42b", "1f3d4", "2744", "1f3e2", "1f3e0",
    "1f420", "1f41f", "1fab8", "1f5bc", "1fa9f", "1fab4",
)  # fmt: skip
"""The emoji that stand in grounds; none of them is a subject."""


class Canvas:
    """A ground in the making: its unit is the side of a picture, its width and height are `MARGIN`.

    Args:
        side: Of the picture, in pixels of the canvas.
        art: Emoji by code.
        rng: Of this ground.
    """

    def __init__(self, side: int, art: Mapping[str, "Image"], rng: np.random.Generator) -> None:
        from PIL import Image, ImageDraw

        self.side, self.art, self.rng = side, art, rng
        whole = round(side * MARGIN)
        self.image = Image.new("RGB", (whole, whole))
        self.draw = ImageDraw.Draw(self.image)

    def shade(self, top: Colour, bottom: Colour, begin: float = 0.0, end: float = MARGIN) -> None:
        """Fill a band of rows with a colour that becomes another."""
        first, last = round(begin * self.side), round(end * self.side)
        for row in range(first, last):
            share = (row - first) / max(1, last - first - 1)
            mixed = tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
            self.draw.line((0, row, self.image.width, row), fill=mixed)

    def hills(self, colour: Colour, height: float, tall: float, waves: float) -> None:
        """Fill everything below a wavy line."""
        phase, x = self.rng.random() * 7, np.linspace(0, MARGIN, 60)
        y = height + tall * np.sin(x * waves * 6 + phase)
        line = [(float(a * self.side), float(b * self.side)) for a, b in zip(x, y, strict=True)]
        self.draw.polygon([*line, (self.image.width, self.image.height), (0, self.image.height)], fill=colour)

    def dots(self, colour: Colour, number: int, size: tuple[float, float], rows: tuple[float, float]) -> None:
        """Small discs at random places."""
        for _ in range(number):
            x, y, radius = self.rng.random() * MARGIN, self.rng.uniform(*rows), self.rng.uniform(*size)
            box = [(place + sign * radius) * self.side for sign in (-1, 1) for place in (x, y)]
            self.draw.ellipse(box, fill=colour)

    def put(self, code: str, size: float, x: float, bottom: float) -> None:
        """Stand an emoji somewhere.

        Args:
            code: Which.
            size: Of its square.
            x: Of its middle.
            bottom: Of its lower edge.
        """
        side = max(1, round(size * self.side))
        small = self.art[code].resize((side, side))
        self.image.paste(small, (round(x * self.side - side / 2), round(bottom * self.side) - side), small)

    def row(self, codes: tuple[str, ...], number: int, size: tuple[float, float], bottom: float) -> None:
        """Emoji side by side, at about equal distances."""
        for place in range(number):
            x = MARGIN * (place + self.rng.uniform(0.2, 0.8)) / number
            self.put(codes[int(self.rng.integers(len(codes)))], self.rng.uniform(*size), x, bottom)


def space(on: Canvas) -> None:
    """Stars, a ringed planet, now and then a rocket."""
    on.shade((24, 16, 68), (58, 32, 112))
    on.dots((255, 255, 255), 34, (0.008, 0.02), (0.0, MARGIN))
    on.dots((255, 232, 150), 6, (0.015, 0.028), (0.0, MARGIN))
    on.put("1fa90", 0.36, on.rng.choice((0.3, 0.95)) + on.rng.uniform(-0.1, 0.1), on.rng.uniform(0.52, 0.64))
    on.put("1f680", 0.28, on.rng.choice((0.25, 1.0)) + on.rng.uniform(-0.1, 0.1), on.rng.uniform(0.9, 1.15))


def beach(on: Canvas) -> None:
    """Sky, sea, sand, palms and shells."""
    on.shade((120, 205, 250), (190, 232, 252), 0.0, 0.6)
    on.shade((20, 140, 200), (60, 190, 215), 0.58, 0.86)
    on.hills((244, 214, 150), 0.85, 0.02, 1.0)
    on.row(("1f334",), 2, (0.42, 0.55), 0.92)
    on.row(("1f41a",), 2, (0.14, 0.18), 1.14)


def forest(on: Canvas) -> None:
    """Trees before dark trees."""
    on.shade((26, 70, 44), (52, 110, 56))
    on.row(("1f332",), 5, (0.42, 0.55), 0.66)
    on.row(("1f333", "1f332"), 4, (0.5, 0.62), 0.96)
    on.hills((62, 92, 40), 0.94, 0.02, 1.0)


def desert(on: Canvas) -> None:
    """Dunes and cactuses under a yellow sky."""
    on.shade((255, 196, 110), (255, 230, 170), 0.0, 0.8)
    on.dots((255, 120, 50), 1, (0.1, 0.12), (0.3, 0.4))
    on.hills((224, 150, 70), 0.72, 0.07, 0.8)
    on.row(("1f335",), 3, (0.26, 0.42), 0.95)
    on.hills((206, 124, 52), 0.94, 0.04, 0.7)


def snow(on: Canvas) -> None:
    """A white ground, peaks, falling flakes."""
    on.shade((150, 180, 214), (206, 222, 238))
    on.row(("1f3d4",), 2, (0.5, 0.6), 0.8)
    on.hills((240, 246, 252), 0.78, 0.04, 0.7)
    on.dots((255, 255, 255), 36, (0.014, 0.03), (0.0, MARGIN))
    on.row(("2744",), 3, (0.14, 0.18), on.rng.uniform(0.2, 0.4))


def city(on: Canvas) -> None:
    """Houses along a street."""
    on.shade((176, 190, 206), (214, 216, 222))
    for place in range(6):
        left, top = place * 0.22 - 0.03, on.rng.uniform(0.1, 0.5)
        tone = int(on.rng.integers(104, 150))
        box = [round(value * on.side) for value in (left, top, left + 0.17, 1.0)]
        on.draw.rectangle(box, fill=(tone, tone, tone + 18))
        for step in range(16):
            x, y = left + 0.03 + 0.06 * (step % 2), top + 0.06 + 0.1 * (step // 2)
            window = [round(value * on.side) for value in (x, y, x + 0.035, y + 0.045)]
            on.draw.rectangle(window, fill=(255, 226, 120))
    on.row(("1f3e2", "1f3e0"), 3, (0.3, 0.4), 0.98)
    on.shade((74, 76, 84), (74, 76, 84), 0.97)
    for place in range(5):
        dash = [round(value * on.side) for value in (0.26 * place, 1.08, 0.26 * place + 0.14, 1.11)]
        on.draw.rectangle(dash, fill=(240, 240, 230))


def sea(on: Canvas) -> None:
    """Water with fish, bubbles and corals."""
    on.shade((22, 150, 190), (8, 70, 130))
    on.dots((160, 230, 245), 14, (0.012, 0.03), (0.0, 1.0))
    on.row(("1f420", "1f41f"), 3, (0.2, 0.26), on.rng.uniform(0.42, 0.56))
    on.row(("1f420", "1f41f"), 2, (0.2, 0.26), on.rng.uniform(0.76, 0.94))
    on.hills((200, 180, 120), 1.14, 0.03, 1.0)
    on.row(("1fab8",), 3, (0.24, 0.34), 1.2)


def room(on: Canvas) -> None:
    """A wall with a picture and a window, a floor of boards."""
    wall = ((226, 196, 204), (214, 206, 178), (198, 208, 188))[int(on.rng.integers(3))]
    on.shade(wall, wall)
    for place in range(9):
        stripe = [round(value * on.side) for value in (0.14 * place, 0, 0.14 * place + 0.05, 0.9)]
        on.draw.rectangle(stripe, fill=tuple(value - 12 for value in wall))
    on.put("1f5bc", 0.34, on.rng.uniform(0.15, 0.5), on.rng.uniform(0.54, 0.64))
    on.put("1fa9f", 0.36, on.rng.uniform(0.75, 1.1), on.rng.uniform(0.56, 0.66))
    on.shade((150, 92, 52), (122, 72, 40), 0.88)
    for place in range(4):
        board = round((0.95 + 0.09 * place) * on.side)
        on.draw.line((0, board, on.image.width, board), fill=(104, 60, 32), width=max(1, on.side // 64))
    on.put("1fab4", 0.3, on.rng.uniform(0.1, 1.15), 1.0)


GROUNDS: Mapping[str, Callable[[Canvas], None]] = {
    "space": space,
    "beach": beach,
    "forest": forest,
    "desert": desert,
    "snow": snow,
    "city": city,
    "sea": sea,
    "room": room,
}
"""How each of `scene_things.PLACES` is drawn."""


def ground(place: str, variant: int, size: int, art: Mapping[str, Any]) -> "Image":
    """One variant of a place, wider than a picture of it.

    Args:
        place: One of `scene_things.PLACES`.
        variant: 0 to `VARIANTS` less one.
        size: Side of the picture in pixels.
        art: The emoji of `GROUND_CODES`, by code.
    """
    from PIL import Image

    canvas = Canvas(size * FINER, art, numpy_rng("ground", place, variant))
    GROUNDS[place](canvas)
    whole = round(size * MARGIN)
    return canvas.image.resize((whole, whole), Image.Resampling.BOX)
