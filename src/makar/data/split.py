"""Who is trained on and who is held out: decided from groups and raw bytes alone, before any cleaning."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import xxhash
from jaxtyping import Bool, Float, Int64, UInt8

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


def place_of(group: str, seed: int) -> float:
    """Where a group lies in [0, 1), by its name and the seed alone: it stays there as a corpus grows."""
    return xxhash.xxh3_64_intdigest(group.encode(), seed) / 2**64


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
        table = read_part(part, ["group", "bytes"])
        groups = table["group"].to_pylist()
        known = {group: place_of(group, seed) for group in set(groups)}
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
    border, straddled = last_part(parts, options)

    def least(floor: float) -> float:
        """The first place from `floor` on of a group that is not in the last part."""
        found = np.inf
        for rows in scan(parts, options.seed):
            free = (rows.places >= floor) & (rows.ends <= border) & ~straddles(rows, straddled)
            found = min(found, rows.places[free].min(initial=np.inf))
        if found == np.inf:
            raise too_small("no group of documents is left for a split")
        return float(found)

    edges = [0.0]
    for fraction in (options.test_fraction if options.test == "hash" else 0.0, options.valid_fraction):
        edge = edges[-1]
        edges.append(max(edge + fraction, np.nextafter(least(edge), 2)) if fraction else edge)
    least(edges[-1])
    taken = 0
    for rows in scan(parts, options.seed):
        fate = np.full(len(rows.groups), Fate.TRAIN, np.uint8)
        fate[rows.places < edges[2]] = Fate.VALID
        fate[rows.places < edges[1]] = Fate.TEST
        fate[straddles(rows, straddled)] = Fate.STRADDLES
        fate[rows.ends > border] = Fate.TEST
        if options.limit_bytes is not None:
            free = fate <= Fate.VALID
            used = taken + np.cumsum(rows.bytes * free)
            fate[free & (used - rows.bytes >= options.limit_bytes)] = Fate.BEYOND
            taken = int(used[-1]) if len(used) else taken
        yield fate


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


def straddles(rows: Rows, group: str | None) -> Bool[np.ndarray, " n"]:
    """Which rows belong to a group."""
    return np.array([other == group for other in rows.groups], bool)


def too_small(value: str) -> InputError:
    """The error for a corpus that cannot be split."""
    return InputError(
        "the corpus is too small for its split",
        value=value,
        fix="give more files, or set test_fraction and valid_fraction to 0",
    )
