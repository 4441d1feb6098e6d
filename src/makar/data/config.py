"""Settings of `makar collect`; imports no torch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from makar.core.config import Config

Fraction = Annotated[float, Field(ge=0, lt=1)]

Ask = Literal["topic", "summary", "docstring", "function", "definition", "term", "disorder", "echo"]
"""How prose becomes questions and answers: the rules of `data.ask`."""

PAIRED: frozenset[Ask] = frozenset(("disorder", "echo"))
"""Those that make pairs of a better and a worse answer; the others make conversations."""


class PictureOptions(Config):
    """What becomes of pictures while they are collected.

    Args:
        size: Side in pixels of the square that every picture is brought to and stored at; None: each stays as it is.
        fit: Into the square by cutting to the middle, or whole on a canvas of the background.
        filter: How a picture is made smaller, as Pillow names it.
        background: What shows where a picture is transparent.
        near: Bits of 64 by which the perceptual hashes of near-duplicates may differ; 0 for equal pictures alone.
    """

    size: Annotated[int, Field(ge=8, le=2048)] | None = None
    fit: Literal["crop", "pad"] = "crop"
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "lanczos"
    background: Annotated[str, Field(pattern="^(white|black|gray|#[0-9a-f]{6})$")] = "white"
    near: Annotated[int, Field(ge=0, le=8)] = 4


class Augment(Config):
    """How rows of pictures vary from epoch to epoch; drawn anew for every row, from the seed and its place.

    Args:
        flip: Mirror half of the rows, left to right.
        crop: The least share of the side that a random crop keeps; 1 for no crop.
        jitter: By how much brightness and contrast vary, as a share.
    """

    flip: bool = False
    crop: Annotated[float, Field(ge=0.25, le=1)] = 1.0
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.0


Caption = Annotated[str, Field(min_length=1)]


class SubjectOptions(Config):
    """One subject that a model is taught a word for, from a few pictures; and its kind, that it may not forget.

    Paper: DreamBooth, arXiv 2208.12242.

    Args:
        captions: What is said of the pictures, each in turn at random: with a word that is rare, or learned.
        only: Files to take of the sources, by patterns of their names; all if left out.
        prior: What is said of others of its kind, whose pictures the model makes before it learns; empty for none.
        prior_pictures: How many.
        prior_weight: How much they count beside the subject's.
    """

    captions: tuple[Caption, ...] = Field(min_length=1)
    only: tuple[str, ...] = ()
    prior: str = ""
    prior_pictures: int = Field(default=64, ge=8, le=10_000)
    prior_weight: float = Field(default=1.0, gt=0)


class CollectOptions(Config):
    """What to keep of the sources, and how to split it.

    Args:
        test: How the test set is chosen: by a hash of the group, or the last part of the corpus in its own order.
        test_fraction: Share of the corpus that is held out for the last judgement: of its groups, or of its raw bytes.
        valid_fraction: Share of the groups that training watches but does not see.
        limit_bytes: Take only a leading part of what is not test, in raw bytes; the manifest says so.
        min_chars: A shorter document is dropped.
        near: Jaccard similarity of word 5-grams from which two documents are near-duplicates: 61% of pairs are found at
            0.7, 95% at 0.8, all from 0.9 on. At 1 only equal documents go, and no signatures are made.
        seed: Keys the hash of the groups.
        pictures: What becomes of pictures, where the sources hold pictures.
        ask: Turn what is kept into questions and answers by these rules; the result is a dataset of conversations,
            or, by "disorder" and "echo", of pairs.
    """

    test: Literal["hash", "last"] = "hash"
    test_fraction: Fraction = 0.05
    valid_fraction: Fraction = 0.01
    limit_bytes: Annotated[int, Field(gt=0)] | None = None
    min_chars: Annotated[int, Field(ge=0)] = 32
    near: Annotated[float, Field(ge=0.7, le=1)] = 0.7
    seed: int = 0
    pictures: PictureOptions = Field(default=PictureOptions(), exclude_if=lambda options: options == PictureOptions())
    ask: tuple[Ask, ...] = Field(default=(), exclude_if=lambda rules: not rules)

    @model_validator(mode="after")
    def leave_something(self) -> "CollectOptions":
        """Training needs a share too, and a dataset is of one kind."""
        if not {*self.ask} <= PAIRED and not PAIRED.isdisjoint(self.ask):
            raise ValueError("'disorder' and 'echo' make pairs, the other rules conversations: ask for one kind")
        if self.test_fraction + self.valid_fraction >= 1:
            raise ValueError("test_fraction and valid_fraction together must stay below 1")
        return self
