"""`makar demo vae`, `diffusion` and `gan`: a shipped recipe of pictures, from the data to a grid and its figures."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from makar.app import api, present, terminal
from makar.app.demo import expected_and_found, tell
from makar.app.pictures import draw

if TYPE_CHECKING:
    from PIL.Image import Image

SEED = 0
COUNT = 16
"""Pictures of a grid, where the model knows no classes."""

OF_EACH = 4
"""Pictures of each class in a grid."""

SAMPLES = 500
"""Pictures that are judged: more would take longer than the training."""

COLUMNS = 72
"""Of a terminal, that a grid is shown in."""


@dataclass(frozen=True)
class Story:
    """What is told of a family.

    Args:
        recipe: The shipped one that is run.
        data: What the pictures are.
        training: How it learns.
        suites: What is measured.
        next: Commands to try, each with what it does.
    """

    recipe: str
    data: str
    training: str
    suites: tuple[str, ...]
    next: tuple[tuple[str, str], ...]


CLOTHES = "The data: Fashion-MNIST, 70,000 gray pictures of clothes in ten classes, from a package of Debian"

STORIES: Mapping[str, Story] = {
    "vae": Story(
        "fashion-vae-quick",
        CLOTHES,
        "Training: it learns to say a picture in 32 numbers, and to draw it again from them",
        ("fidelity",),
        (
            ("generate {name} --count 16 --out new.png", "sixteen more"),
            ("generate {name} --image shirt.png --set variation=0.8 --count 8 --out like.png", "variations of yours"),
            ("evaluate {name}", "all figures"),
            ("train fashion-vae", "a ladder of codes, twenty minutes"),
        ),
    ),
    "diffusion": Story(
        "fashion-diffusion-quick",
        CLOTHES,
        "Training: it learns to take noise off pictures, and so to make one of nothing but noise",
        ("agreement", "fidelity"),
        (
            ('generate {name} "Sneaker" --count 16 --out sneakers.png', "more of one class"),
            ('generate {name} "Bag" --image bag.png --strength 0.5 --out other.png', "a picture of yours anew"),
            ("evaluate {name}", "all figures"),
            ("train fashion-diffusion", "a better one, twenty minutes"),
        ),
    ),
    "gan": Story(
        "fashion-gan-quick",
        CLOTHES,
        "Training: one net draws, another tells the drawn from the real, and each learns from the other",
        ("agreement", "fidelity"),
        (
            ('generate {name} "Sneaker" --count 16 --out sneakers.png', "more of one class"),
            ("evaluate {name}", "all figures"),
            ("train fashion-gan", "a better one, twenty minutes"),
        ),
    ),
}


def demo(story: Story, *, quiet: bool) -> None:
    """Collect pictures, train a model on them, let it draw, and measure what it draws beside real pictures.

    Started again, it goes on where it was.

    Args:
        story: Which.
        quiet: No progress on stderr.
    """
    began = time.monotonic()
    tell(f"1. {story.data}")
    with terminal.training(quiet=quiet) as (say, progress):
        manifest = api.prepare(story.recipe, say=say)
    tell(present.manifest_text(manifest), heading=False)
    tell(f"2. {story.training}")
    with terminal.training(quiet=quiet) as (say, progress):
        run = api.train(story.recipe, say=say, progress=progress)
    tell(expected_and_found(api.show(run).manifest), heading=False)
    tell("3. What it makes of noise alone")
    tell(f"  {grid(run)}", heading=False)
    tell(f"4. How like real pictures they are: {SAMPLES} of its own, and as many real ones, beside pictures held out")
    report = api.evaluate(run, suites=story.suites, samples=SAMPLES, say=terminal.say(quiet=quiet))
    tell(present.report_text(report), heading=False)
    took = terminal.duration(time.monotonic() - began)
    tell(f"5. All of it is in {run} ({took} for this start). What to try next")
    tell(present.table([(f"  makar {words.format(name=run.name)}", what) for words, what in story.next]), heading=False)


def grid(run: Path) -> Path:
    """Pictures of every class as one file beside the run's samples; on a terminal that has colours they are shown."""
    from PIL import Image

    model = api.load(run)
    classes: tuple[str, ...] = getattr(model.config, "classes", ())
    knows = bool(model.config.net.num_classes)  # pyright: ignore[reportAttributeAccessIssue]: every family of pictures has one
    asked, count = (classes, OF_EACH) if knows and classes else (("",), COUNT)
    out = run / "samples" / "demo.png"
    (file,) = draw(model, asked, count=count, seed=SEED, out=out, settings={}, name=str(run), folder=run / "model")
    if sys.stdout.isatty():
        with Image.open(file) as picture:
            print(blocks(picture), flush=True)
    return file


def blocks(picture: "Image", columns: int = COLUMNS) -> str:
    """A picture as text for a terminal with colours: each character is two pixels, one above the other.

    Args:
        picture: Of any mode.
        columns: How wide it becomes, at most.
    """
    import numpy as np

    wide = min(columns, picture.width)
    high = max(2, round(picture.height * wide / picture.width / 2) * 2)
    lines = np.asarray(picture.convert("RGB").resize((wide, high))).tolist()
    ink, paper = "\x1b[38;2;{};{};{}m", "\x1b[48;2;{};{};{}m"
    rows = zip(lines[::2], lines[1::2], strict=True)
    drawn = ["".join(ink.format(*a) + paper.format(*b) + "▀" for a, b in zip(*row, strict=True)) for row in rows]
    return "\n".join(f"{line}\x1b[0m" for line in drawn)
