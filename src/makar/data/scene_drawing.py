"""Scenes as pictures: emoji on a ground, worn and held where a face says, and signs in letters five dots high."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from makar.core.errors import InputError
from makar.core.random import numpy_rng
from makar.data.archives import Entry
from makar.data.document import Fault
from makar.data.fetch import Fetched
from makar.data.picture_survey import is_picture, leaves, read
from makar.data.pictures import MAX_BYTES, need_pillow, opened
from makar.data.scene_ground import GROUND_CODES, MARGIN, VARIANTS, ground
from makar.data.scene_things import ACCESSORIES, COLOURS, SUBJECTS, Accessory, Scene, Subject

if TYPE_CHECKING:
    from PIL.Image import Image

EMOJI = "npm:emoji-datasource-google@16.0.0"
"""The set that scenes are composed of, where none is named."""

SMALLEST, LARGEST = 32, 128
"""Sides of pictures in pixels."""

LAYOUTS = {
    1: (0.64, ((0.5, 0.98),)),
    2: (0.50, ((0.26, 0.97), (0.74, 0.97))),
    3: (0.41, ((0.23, 0.98), (0.77, 0.98), (0.5, 0.60))),
}
"""How large subjects are and where they stand (middle and lower edge), by their number, as shares of the picture."""

MIDDLES = {"left": 0.33, "middle": 0.5, "right": 0.67}
"""Where the middle of a single subject is."""

STRETCHES = (0.95, 1.0, 1.05)
"""Subjects vary in size by these factors."""

RIM = 0.5
"""How strong the pale rim around what is worn or held is, which keeps it apart from any ground."""


@dataclass(frozen=True)
class Sprites:
    """The emoji that scenes are made of, and what was drawn of them: each is scaled and coloured once.

    Args:
        art: Emoji with transparency, by code points.
    """

    art: dict[str, "Image"]
    kept: dict[tuple[Any, ...], "Image"] = field(default_factory=dict[tuple[Any, ...], "Image"], repr=False)

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the emoji."""
        from hashlib import sha256

        whole = sha256()
        for code, image in sorted(self.art.items()):
            whole.update(f"{code} {image.size}".encode() + image.tobytes())
        return whole.hexdigest()

    def subject(self, name: str, side: int, *, mirrored: bool) -> "Image":
        """A subject in a square of some pixels."""
        key = ("subject", name, side, mirrored)
        if key not in self.kept:
            self.kept[key] = turned(scaled(self.art[SUBJECTS[name].code], side, side), mirrored=mirrored)
        return self.kept[key]

    def accessory(self, name: str, colour: str, wide: int, *, mirrored: bool) -> "Image":
        """A thing worn or held, cut to its edges, in a colour, some pixels wide."""
        key = ("accessory", name, colour, wide, mirrored)
        if key not in self.kept:
            whole = tinted(trimmed(self.art[ACCESSORIES[name].code]), COLOURS[colour])
            high = max(1, round(wide * whole.height / whole.width))
            self.kept[key] = turned(rimmed(scaled(whole, wide, high), RIM), mirrored=mirrored)
        return self.kept[key]

    def ground(self, place: str, variant: int, size: int) -> "Image":
        """One variant of a place, wider than a picture of it."""
        key = ("ground", place, variant, size)
        if key not in self.kept:
            self.kept[key] = ground(place, variant, size, self.art)
        return self.kept[key]


def sprites_of(source: Fetched) -> Sprites:
    """The emoji of scenes out of an emoji set, whose files are named after code points.

    Args:
        source: A package, an archive or a folder.

    Raises:
        InputError: The set lacks one of them.
    """
    need_pillow()
    names = {thing.code: thing.name for thing in (*SUBJECTS.values(), *ACCESSORIES.values())}
    wanted = dict.fromkeys(GROUND_CODES, "part of a ground") | names
    art: dict[str, Image] = {}
    for entry in leaves(source):
        if not isinstance(entry, Entry) or not is_picture(entry.kind):
            continue
        code = entry.kind.rpartition("/")[2].partition(".")[0].lower().removesuffix("-fe0f")
        if code in wanted and code not in art:
            found = opened(read(entry, MAX_BYTES), entry.name, lambda image: image.convert("RGBA"))
            if not isinstance(found, Fault):
                art[code] = found
    lacking = [code for code in wanted if code not in art]
    if lacking:
        what = f"the set lacks {len(lacking)} of the emoji that scenes are made of, first {wanted[lacking[0]]!r}"
        fix = f"name a whole set with files named after code points: {EMOJI}"
        raise InputError(what, where=source.name, value=lacking[0], fix=fix)
    return Sprites(art)


def draw(scene: Scene, index: int, sprites: Sprites, size: int) -> UInt8[np.ndarray, "3 size size"]:
    """The picture of a scene.

    Args:
        scene: What it shows.
        index: Of one of the many pictures of it: where things lie exactly, and how the ground looks.
        sprites: The emoji.
        size: Side in pixels, 32 to 128.
    """
    assert SMALLEST <= size <= LARGEST, size
    pick = numpy_rng("draw", index).random(8 + 4 * scene.count)
    canvas = grounded(scene.place, pick, sprites, size)
    share, places = LAYOUTS[scene.count]
    lift = 0.16 if scene.sign else 0.0
    for number in range(scene.count - 1, -1, -1):  # those in front last
        middle, bottom = places[number]
        if scene.position is not None:
            middle = MIDDLES[scene.position]
        stretch, x, y, turn = pick[8 + 4 * number : 12 + 4 * number]
        side = share * STRETCHES[int(stretch * len(STRETCHES))] * (0.92 if scene.sign else 1.0)
        middle, bottom = middle + 0.06 * (x - 0.5), bottom - lift * (bottom > 0.9) - 0.04 * y
        dress(canvas, scene, sprites, (middle, bottom, side), mirrored=bool(turn < 0.5))
    if scene.sign:
        board(canvas, scene.sign, size, float(pick[6]))
    return np.ascontiguousarray(np.asarray(canvas).transpose(2, 0, 1))


def grounded(place: str, pick: Any, sprites: Sprites, size: int) -> "Image":
    """A piece of a ground, mirrored or not."""
    from PIL import Image

    whole = sprites.ground(place, int(pick[0] * VARIANTS), size)
    room = round(size * MARGIN) - size
    left, top = int(pick[1] * (room + 1)), int((0.6 + 0.4 * pick[2]) * room)
    piece = whole.crop((left, top, left + size, top + size))
    return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if pick[3] < 0.5 else piece


def dress(
    canvas: "Image", scene: Scene, sprites: Sprites, place: tuple[float, float, float], *, mirrored: bool
) -> None:
    """Draw a subject, and on it what it wears or holds.

    Args:
        canvas: What is drawn on.
        scene: What is to be seen.
        sprites: The emoji.
        place: The subject's middle, lower edge and side, as shares of the picture.
        mirrored: Whether it looks the other way.
    """
    size = canvas.width
    middle, bottom, side = place
    pixels = round(side * size)
    subject, thing = SUBJECTS[scene.subject], ACCESSORIES[scene.accessory] if scene.accessory else None
    left, top = round(middle * size - pixels / 2), round(bottom * size) - pixels
    body = sprites.subject(scene.subject, pixels, mirrored=mirrored)
    pieces = [(body, (left, top))]
    if thing is not None:
        assert scene.colour is not None
        # a single one holds it where there is room, and several all on one side: in the middle they would be one
        leftward = scene.count == 1 and bool(middle > 0.55 or (middle > 0.45 and mirrored))
        art = sprites.accessory(thing.name, scene.colour, max(5, round(thing.width * pixels)), mirrored=leftward)
        x, y = anchor(subject, thing, mirrored=mirrored, leftward=leftward)
        x, y = left + x * pixels - art.width / 2, top + y * pixels - RISES[thing.hold] * art.height
        corner = (round(min(max(x, 0), size - art.width)), round(min(max(y, 0), size - art.height)))
        pieces.insert(0 if thing.hold == "ears" else 1, (art, corner))  # headphones are seen around the head
    for art, corner in pieces:
        canvas.paste(art, corner, art)


def anchor(subject: Subject, thing: Accessory, *, mirrored: bool, leftward: bool) -> tuple[float, float]:
    """Where a thing's own point comes to lie, as shares of the subject's square."""
    middle = 1 - subject.middle if mirrored else subject.middle
    match thing.hold:
        case "eyes":
            return middle, subject.eyes
        case "top":
            return middle, subject.top + 0.10
        case "ears":
            return middle, subject.top - 0.14
        case "hand":
            return (-0.02 if leftward else 1.02), HANDS[thing.name]


HANDS = {"balloon": 0.62, "umbrella": 0.45, "guitar": 0.98, "heart": 0.90}
"""How far below a subject's upper edge the lower end of what it holds is."""

RISES = {"eyes": 0.5, "top": 1.0, "ears": 0.0, "hand": 1.0}
"""Which point of a thing comes to lie at its anchor: 0 for its upper edge, 1 for its lower one."""


def scaled(image: "Image", wide: int, high: int) -> "Image":
    """A picture with transparency at another size; its edges do not darken."""
    from PIL import Image

    return image.convert("RGBa").resize((wide, high), Image.Resampling.LANCZOS).convert("RGBA")


def turned(image: "Image", *, mirrored: bool) -> "Image":
    """A picture, or its mirror image."""
    from PIL import Image

    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image


FAINT = 40
"""An edge is empty where nothing is less transparent than this of 255."""


def trimmed(image: "Image") -> "Image":
    """A picture without its empty edges."""
    return image.crop(image.getchannel("A").point([255 * (value > FAINT) for value in range(256)]).getbbox())


def tinted(image: "Image", colour: tuple[int, int, int]) -> "Image":
    """A picture in lighter and darker tones of one colour, its middle tone the colour itself."""
    from PIL import Image

    pixels = np.asarray(image).astype(np.float32)
    alpha, tone = pixels[..., 3], pixels[..., :3] @ np.array([0.30, 0.59, 0.11], np.float32)
    low, middle, high = np.percentile(tone[alpha > 128], (2, 50, 98))
    down = np.clip((middle - tone) / max(middle - low, 48), 0, 1)[..., None]
    up = np.clip((tone - middle) / max(high - middle, 48), 0, 1)[..., None]
    plain = np.array(colour, np.float32) * (1 - 0.55 * down)
    mixed = plain + (255 - plain) * 0.5 * up
    return Image.fromarray(np.concatenate((mixed, alpha[..., None]), -1).round().astype(np.uint8), "RGBA")


def rimmed(image: "Image", strength: float) -> "Image":
    """A picture with a pale rim, a pixel wider on each side."""
    from PIL import Image, ImageFilter

    whole = Image.new("RGBA", (image.width + 2, image.height + 2))
    whole.paste(image, (1, 1))
    wide = (
        whole.getchannel("A").filter(ImageFilter.MaxFilter(3)).point([round(strength * value) for value in range(256)])
    )
    rim = Image.new("RGBA", whole.size, (255, 255, 255))
    rim.putalpha(wide)
    return Image.alpha_composite(rim, whole)


def board(canvas: "Image", word: str, size: int, pick: float) -> None:
    """A white sign with a word along the lower edge.

    Args:
        canvas: What is drawn on.
        word: In letters of `LETTERS`.
        size: Of the canvas.
        pick: Where between left and right, 0 to 1.
    """
    from PIL import Image

    dots = np.zeros((7, 1 + sum(1 + len(LETTERS[letter][0]) for letter in word)), bool)
    column = 1
    for letter in word:
        rows = LETTERS[letter]
        for y, x in product(range(5), range(len(rows[0]))):
            dots[y + 1, column + x] = rows[y][x] == "#"
        column += 1 + len(rows[0])
    unit = size // 32
    paper = Image.fromarray(np.where(dots, 16, 250).astype(np.uint8).repeat(unit, 0).repeat(unit, 1))
    room = size - paper.width
    canvas.paste(paper.convert("RGB"), (round((0.25 + 0.5 * pick) * room), size - paper.height - unit))


LETTERS = {
    letter: rows.split()
    for letter, rows in {
        "a": ".#. #.# ### #.# #.#",
        "c": ".## #.. #.. #.. .##",
        "e": "### #.. ##. #.. ###",
        "f": "### #.. ##. #.. #..",
        "g": ".## #.. #.# #.# .##",
        "h": "#.# #.# ### #.# #.#",
        "i": "# # # # #",
        "j": "..# ..# ..# #.# .#.",
        "k": "#.# #.# ##. #.# #.#",
        "n": "#..# ##.# #.## #..# #..#",
        "o": ".#. #.# #.# #.# .#.",
        "p": "##. #.# ##. #.. #..",
        "r": "##. #.# ##. #.# #.#",
        "s": ".## #.. .#. ..# ##.",
        "t": "### .#. .#. .#. .#.",
        "u": "#.# #.# #.# #.# ###",
        "y": "#.# #.# .#. .#. .#.",
    }.items()
}
"""The letters of `SIGNS`, five rows each."""
