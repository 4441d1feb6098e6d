"""A walk through the latent space as a moving picture: whether what lies between two pictures is one, too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from makar.core.config import Config
from makar.core.files import file_atomic
from makar.core.nouns import Model, Request, Verdict, Watch
from makar.engine.run import Engine
from makar.recipes.run import Run

WALKS = ("gan", "vae")
"""Families whose prompts go "towards" another seed."""

STATIONS = 4
"""Pictures of seeds that a walk passes; from the last it comes back to the first."""

FRAMES = 8
"""From one to the next."""

MILLISECONDS = 80
"""That a frame stands."""

SIDE = 128
"""Pixels that a frame has at least: small pictures are shown larger."""


def latent_walk(settings: Config, *, classes: int, seed: int, run: Run) -> Watch:
    """A watch that keeps a walk in `samples/`, of the first class where there are classes.

    Args:
        settings: The family's settings of generation; the family knows prompts that go "towards" a seed.
        classes: That the model knows.
        seed: Of the first station; the same at every look, so that looks compare.
        run: Whose `samples/` it is.
    """
    requests = [
        Request(
            {"label": 0 if classes else None, "towards": (seed + (one + 1) % STATIONS, share / FRAMES)},
            seed + one,
            settings,
        )
        for one in range(STATIONS)
        for share in range(FRAMES)
    ]

    def look(step: int, model: Model[Any]) -> Verdict:
        run.samples.mkdir(parents=True, exist_ok=True)
        write_animation([answer.data for answer in Engine(model).generate(requests)], walk_file(run, step))
        return Verdict()

    return look


def walk_file(run: Run, step: int) -> Path:
    """Where the walk of a step is kept."""
    return run.samples / f"walk-{step:08d}.gif"


def write_animation(pictures: Sequence[Any], place: Path) -> None:
    """Pictures of one size as a GIF that repeats for ever.

    Args:
        pictures: Of Pillow.
        place: The file.
    """
    from PIL.Image import Resampling

    wide, high = pictures[0].size
    times = max(1, -(-SIDE // wide))
    frames = [picture.resize((wide * times, high * times), Resampling.NEAREST) for picture in pictures]
    with file_atomic(place) as file:
        frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0)
