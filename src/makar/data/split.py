"""Who is trained on and who is held out: decided from groups and raw bytes alone, before any cleaning."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import xxhash
from jaxtyping import Float, Int64, UInt8

from makar.core.errors import InputError
from makar.data.config import CollectOptions
from makar.data.store import read_part


class Fate(IntEnum):
    """What becomes of a document."""

    TRAIN = 0
    VALID = 1
    TEST = 2
    BEYOND = 3
    STRADDLES = 4


REASONS = {Fate.BEYOND: "beyond the limit of bytes", Fate.STRADDLES: "in a group that the test set begins inside"}


def place_of(group: str, source: str, seed: int) -> float:
    """Where a group lies in [0, 1), by its name and the seed alone: it stays there as a corpus grows or moves.

    All that makar makes has one place for a group: what one stage holds out, no other stage has learned from.

    Args:
        group: The name, which begins with that of the source.
        source: Of its path only the last part counts.
        seed: For another split.
    """
    made = source.startswith("make:")
    moved = group.partition("#")[2] if made else group.removeprefix(source.rstrip("/").rpartition("/")[0])
    return xxhash.xxh3_64_intdigest(moved.lstrip("/").encode(), seed) / 2**64


@dataclass(frozen=True)
class Rows:
    """What a split looks at: groups, their places, raw bytes, and the bytes of the corpus up to each row's end."""

    groups: list[str]
    places: Float[np.ndarray, " n"]
    bytes: Int64[np.ndarray, " n"]
    ends: Int64[np.ndarray, " n"]


def scan(parts: Sequence[Path], seed: int) -> Iterator[Rows]:
    """The corpus in order, part by part."""
    passed = 0
    for part in parts:
        table = read_part(part, ["group", "source", "bytes"])
        groups, sources = table["group"].to_pylist(), table["source"].to_pylist()
        known = {group: place_of(group, source, seed) for group, source in set(zip(groups, sources, strict=True))}
        size = table["bytes"].to_numpy().astype(np.int64)
        ends = passed + np.cumsum(size)
        passed += int(size.sum())
        yield Rows(groups, np.array([known[group] for group in groups], np.float64), size, ends)


def split(parts: Sequence[Path], options: CollectOptions) -> Iterator[UInt8[np.ndarray, " n"]]:
    """The fate of every document, part by part. Memory does not grow with the corpus.

    A split whose fraction of few groups would be empty gets the group that lies nearest.

    Raises:
        InputError: There are too few groups for the splits that the options ask for.
    """
    test = 0.0
    if options.test == "hash" and options.test_fraction:
        test = max(options.test_fraction, beyond(least(rows.places for rows in scan(parts, options.seed))))
    border, straddled = last_part(parts, options)

    def outline() -> Iterator[tuple[Rows, UInt8[np.ndarray, " n"]]]:
        """All but validation."""
        taken = 0
        for rows in scan(parts, options.seed):
            fate = np.where(rows.places < test, Fate.TEST, Fate.TRAIN).astype(np.uint8)
            fate[[group == straddled for group in rows.groups]] = Fate.STRADDLES
            fate[rows.ends > border] = Fate.TEST
            if options.limit_bytes is not None:
                free = fate == Fate.TRAIN
                used = taken + np.cumsum(rows.bytes * free)
                fate[free & (used - rows.bytes >= options.limit_bytes)] = Fate.BEYOND
                taken = int(used.max(initial=taken))
            yield rows, fate

    valid = test
    if options.valid_fraction:
        nearest = least(rows.places[fate == Fate.TRAIN] for rows, fate in outline())
        valid = max(test + options.valid_fraction, beyond(nearest))
    least(rows.places[(fate == Fate.TRAIN) & (rows.places >= valid)] for rows, fate in outline())
    for rows, fate in outline():
        fate[(fate == Fate.TRAIN) & (rows.places < valid)] = Fate.VALID
        yield fate


def least(places: Iterator[Float[np.ndarray, " n"]]) -> float:
    """The first of all places.

    Raises:
        InputError: There is none.
    """
    found = min((float(part.min(initial=np.inf)) for part in places), default=np.inf)
    if found == np.inf:
        raise too_small("no group of documents is left for a split")
    return found


def beyond(place: float) -> float:
    """The border just behind a place."""
    return float(np.nextafter(place, 2))


def last_part(parts: Sequence[Path], options: CollectOptions) -> tuple[float, str | None]:
    """Where the test set begins, if it is the last part: the raw bytes before it, and the group that it begins inside.

    The document that the border falls into is part of the test set.
    """
    if options.test != "last" or not options.test_fraction:
        return np.inf, None
    border = (1 - options.test_fraction) * sum(int(rows.bytes.sum()) for rows in scan(parts, options.seed))
    for rows in scan(parts, options.seed):
        inside = np.flatnonzero(rows.ends > border)
        if len(inside):
            return border, rows.groups[inside[0]]
    return border, None


def too_small(value: str) -> InputError:
    """The error for a corpus that cannot be split."""
    return InputError(
        "the corpus is too small for its split",
        value=value,
        fix="give more files, or set test_fraction to 0; valid_fraction too, where nothing will be trained on it",
    )
