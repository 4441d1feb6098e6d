"""Two pictures side by side for a person to choose between: in a file, and on a terminal that has colours."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.align.choices import picture_text

if TYPE_CHECKING:
    from PIL.Image import Image

    from makar.core.nouns import Model

GAP = 8
"""Pixels between the two."""

SMALLEST = 256
"""Pixels that a picture is shown with in the file, at least: small ones are made larger by whole factors."""


def prompt_of(model: "Model[Any]", prompt: str) -> str | None:
    """What the sampler is asked: nothing, for a model that can be asked for nothing."""
    net: Any = model.config.net  # pyright: ignore[reportAttributeAccessIssue]: every family of pictures has one
    return prompt if getattr(net, "num_classes", 0) or "text" in model.parts else None


def as_answer(picture: "Image") -> str:
    """A picture as the store keeps it."""
    from makar.data.pictures import to_png

    return picture_text(to_png(picture))


def side_by_side(first: "Image", second: "Image") -> "Image":
    """Both pictures as one, the first at the left."""
    from PIL import Image

    factor = max(1, -(-SMALLEST // first.width))
    large = [each.convert("RGB").resize((each.width * factor, each.height * factor), 0) for each in (first, second)]
    both = Image.new("RGB", (large[0].width + GAP + large[1].width, large[0].height), "white")
    both.paste(large[0], (0, 0))
    both.paste(large[1], (large[0].width + GAP, 0))
    return both


def shown(
    first: "Image",
    second: "Image",
    said: Mapping[str, Any],
    *,
    place: Path,
    maker: tuple[Mapping[str, Any], str | None],
) -> str:
    """Write both pictures into a file, each time the same one, and draw them where the terminal can.

    Args:
        first: Shown at the left, as [1].
        second: At the right, as [2].
        said: What they were made of: it goes into the file.
        place: The file.
        maker: What made them, and its run's recipe, as `recipes.provenance.maker` says it.

    Returns:
        Where they are, and the drawing.

    Raises:
        ResourceError: The file cannot be written.
    """
    from makar.app.demo_pictures import blocks
    from makar.recipes.provenance import Provenance, write_picture

    both, (made, recipe) = side_by_side(first, second), maker
    write_picture(both, Provenance([{"sheet": "choices"}], {**made, **said}, recipe), place)
    told = f"[1] at the left, [2] at the right of {place}"
    return f"{told}\n{blocks(both)}" if sys.stderr.isatty() else told
