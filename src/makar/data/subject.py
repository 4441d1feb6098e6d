"""A few pictures of one subject, and beside them pictures of its kind: what a model is taught a new word with."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from makar.core.errors import InputError, RecipeError
from makar.core.nouns import Batch
from makar.core.random import Rng
from makar.data.archives import HIDDEN
from makar.data.config import Augment, PictureOptions
from makar.data.document import Fault
from makar.data.fetch import Fetched, entries
from makar.data.order import Order
from makar.data.pictures import MAX_BYTES, decode
from makar.data.pixels import vary

FEWEST, MOST = 4, 200
"""Pictures of a subject: three to learn from and one to judge by; more are a dataset, where each has its own words."""


def subject_pictures(
    sources: Sequence[Fetched], only: Sequence[str], options: PictureOptions, channels: int
) -> UInt8[np.ndarray, "pictures channels side side"]:
    """All pictures of some sources, in one order everywhere; each must be one.

    Args:
        sources: Folders, files or packages.
        only: Patterns of the files' names, with `*` and `[...]`; all files if left out.
        options: Their size, and how they are brought to it.
        channels: 1 for gray, 3 for colour.

    Raises:
        InputError: A file is no picture, or cannot be decoded.
        RecipeError: There are too few pictures, or too many.
    """
    found: list[UInt8[np.ndarray, "channels side side"]] = []
    for entry in (entry for source in sources for entry in entries(source)):
        if isinstance(entry, Fault):
            if entry.reason == HIDDEN:
                continue
            raise InputError(f"cannot be read: {entry.reason}", where=entry.where, fix=entry.fix)
        name = PurePosixPath(entry.name).name
        if only and not any(fnmatchcase(name, pattern) for pattern in only):
            continue
        with entry.open() as file:
            still = decode(file.read(MAX_BYTES + 1), entry.name, options)
        if isinstance(still, Fault):
            fix = f"{still.fix}; or take it out: all files of a subject are pictures"
            raise InputError(f"cannot be read as a picture: {still.reason}", where=entry.name, fix=fix)
        plain = np.asarray(still.image.convert("L" if channels == 1 else "RGB"))
        found.append(np.atleast_3d(plain).transpose(2, 0, 1))
        if len(found) > MOST:
            fix = "collect them with captions, and set data.rows = 'captioned'"
            raise RecipeError("too many pictures of one subject", where="data.sources", value=f"over {MOST}", fix=fix)
    if len(found) < FEWEST:
        fix = f"give {FEWEST} to 20: three to learn from, and one to judge by"
        raise RecipeError("too few pictures of the subject", where="data.sources", value=len(found), fix=fix)
    return np.stack(found)


@dataclass(frozen=True)
class Told:
    """Pictures, and what is said of them.

    Args:
        pixels: Of each.
        tokens: Of the captions; each picture goes with all of them.
    """

    pixels: UInt8[Tensor, "pictures channels side side"]
    tokens: Int[Tensor, "captions length"]


@final
class SubjectRows:
    """A source in which pictures of a subject and of its kind take turns; pure in the step and of random access.

    Paper: DreamBooth, arXiv 2208.12242, section 3.2, eq. 2: its two losses are the rows of both, weighed.

    Args:
        subject: The subject's.
        prior: Of its kind, made by the model before it learns; None for none.
        weight: How much a row of the latter counts, where one of the former counts 1.
        seed: Of the order of rows, of their captions, and of how they vary.
        augment: How the subject's vary.
    """

    def __init__(
        self, subject: Told, prior: Told | None, weight: float, seed: int, augment: Augment = Augment()  # noqa: B008
    ) -> None:  # fmt: skip
        self.kinds = [subject] if prior is None else [subject, prior]
        self.weights = [1.0, weight][: len(self.kinds)]
        self.seed, self.augment = seed, augment
        self.orders = [Order(len(kind.pixels), seed) for kind in self.kinds]

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every picture of the subject once."""
        return float(len(self.kinds) * len(self.kinds[0].pixels))

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size` of the stream: one of the subject, one of its kind.

        Returns:
            `images` [size, channels, side, side] float32 in -1..1, `tokens` [size, length] int64 and `weight` [size].
        """
        places = torch.arange(step * size, step * size + size)
        rng, count = Rng(self.seed, 0, places, "subject"), len(self.kinds)
        drawn = rng.uniform("caption")
        images: list[Float[Tensor, "channels side side"]] = []
        tokens: list[Int[Tensor, " length"]] = []
        for place, share in zip(places.tolist(), drawn.tolist(), strict=True):
            kind, order = self.kinds[place % count], self.orders[place % count]
            images.append(kind.pixels[int(order.rows(place // count, 1)[0])].float().div(127.5).sub(1))
            tokens.append(kind.tokens[int(share * len(kind.tokens))])
        pictures, own = torch.stack(images), (places % count == 0)[:, None, None, None]
        return {
            "images": torch.where(own, vary(pictures, self.augment, rng), pictures),
            "tokens": torch.stack(tokens),
            "weight": torch.tensor(self.weights)[places % count],
        }
