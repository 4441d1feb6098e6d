"""`makar demo multimodal`: scenes of emoji, from captions to pictures, and from pictures to answers."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.app import api, present, terminal
from makar.app.demo import expected_and_found, tell
from makar.app.demo_pictures import blocks

if TYPE_CHECKING:
    from PIL.Image import Image

RECIPE = "demo-multimodal"

STAGES = {
    "clip": "CLIP learns which caption belongs to which picture, a few hundred at a time",
    "draw": "A diffusion transformer learns to draw a scene from what CLIP reads in its caption",
    "answer": "A decoder learns to answer questions about what CLIP sees",
}

CAPTIONS = (
    "a cat in space", "a dog in the snow", "a fox on the beach", "a lion in the forest",
    "two pandas in the city", "a cat wearing sunglasses in space", "a robot in the desert", "a pig in a room",
)  # fmt: skip

QUESTIONS = ("what is in the picture?", "where is the cat?", "is there a dog?")

SEED = 0
LARGER = 4
"""Each pixel of a picture becomes a square of so many."""

NEXT = (
    ('generate {name}/draw "a bear wearing a red crown in the forest" --out bear.png', "a scene of yours"),
    ('generate {name}/answer --image bear.png "What is the bear wearing?"', "ask about a picture"),
    ("evaluate {name}/draw", "how much of what is asked for is there, by a judge of its own"),
    ("train scenes-clip", "the same in earnest: then scenes-t2i and scenes-vlm"),
)


def demo(*, quiet: bool) -> None:
    """Compose scenes, train three models that stand on each other, draw captions, and ask about what was drawn.

    Started again, it goes on where it was.

    Args:
        quiet: No progress on stderr.
    """
    began = time.monotonic()
    tell("1. The data: emoji from a package, of which makar composes captioned scenes without end. Some of them")
    pictures, captions = scenes(len(CAPTIONS))
    show(captioned(pictures, captions), Path("runs", RECIPE, "scenes.png"))
    runs: dict[str, Path] = {}
    for number, (stage, what) in enumerate(STAGES.items(), 2):
        tell(f"{number}. {what}")
        with terminal.training(quiet=quiet) as (say, progress):
            runs[stage] = api.train(RECIPE, stage=stage, say=say, progress=progress)
        tell(expected_and_found(api.show(runs[stage]).manifest), heading=False)
    tell("5. Captions, drawn: no scene of the training shows a cat with sunglasses in space")
    drawn = [answer.data for answer in api.generate(runs["draw"], list(CAPTIONS), seed=SEED)]
    show(captioned(drawn, CAPTIONS), runs["draw"] / "samples" / "demo.png")
    tell(f"6. Questions about the first of them, {CAPTIONS[0]!r}, which was never a scene but drawn just now")
    answers = [api.generate(runs["answer"], each, images=[larger(drawn[0], 1)])[0].data for each in QUESTIONS]
    tell(present.table([(f"  {q}", a.strip()) for q, a in zip(QUESTIONS, answers, strict=True)]), heading=False)
    whole, took = runs["draw"].parent, terminal.duration(time.monotonic() - began)
    tell(f"7. All of it is in {whole} ({took} for this start). What to try next")
    tell(present.table([(f"  makar {words.format(name=whole.name)}", what) for words, what in NEXT]), heading=False)


def scenes(count: int) -> tuple[list["Image"], list[str]]:
    """Scenes as the recipe's first stage learns them, with their captions."""
    from PIL import Image

    from makar.data.scenes import Scenes
    from makar.recipes.captioned import emoji_of
    from makar.recipes.load import load_recipe

    first = next(iter(load_recipe(RECIPE).stages.values()))
    made = Scenes(emoji_of(first.data)[1], 32, SEED)
    rows = [made.row(index) for index in range(count)]
    return [Image.fromarray(pixels.transpose(1, 2, 0)) for pixels, _, _ in rows], [caption for _, caption, _ in rows]


def show(sheet: "Image", place: Path) -> None:
    """Write a sheet, say where it is, and on a terminal show it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(place)
    if sys.stdout.isatty():
        tell(blocks(sheet), heading=False)
    tell(f"  {place}", heading=False)


def larger(picture: "Image", times: int = LARGER) -> "Image":
    """A picture whose pixels are squares."""
    return picture.convert("RGB").resize((picture.width * times, picture.height * times), 0)


def captioned(pictures: Sequence["Image"], captions: Sequence[str], columns: int = 4) -> "Image":
    """Pictures in rows, each above its caption.

    Args:
        pictures: Of one size.
        captions: Of each.
        columns: Pictures in a row.
    """
    from PIL import Image, ImageDraw

    side, line = pictures[0].width * LARGER, 12
    lines = [broken(caption, side // 7) for caption in captions]
    high = side + line * max(map(len, lines)) + 6
    sheet = Image.new("RGB", (columns * (side + 8), -(-len(pictures) // columns) * high), "white")
    pen: Any = ImageDraw.Draw(sheet)
    for number, (picture, words) in enumerate(zip(pictures, lines, strict=True)):
        left, top = number % columns * (side + 8) + 4, number // columns * high + 2
        sheet.paste(larger(picture), (left, top))
        for row, text in enumerate(words):
            pen.text((left, top + side + line * row), text, fill="black")
    return sheet


def broken(text: str, characters: int) -> list[str]:
    """A text in lines of so many characters at most."""
    from textwrap import wrap

    return wrap(text, characters) or [""]
