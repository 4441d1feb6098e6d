"""Pictures that look alike: 64-bit hashes of the lowest frequencies, and all pairs of them that differ in few bits.

A hash finds candidates, a small copy of both pictures decides: the hash sees no colour and hardly any detail, and two
plain shirts have one hash.

Paper: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"; Manku et al. 2007, "Detecting
near-duplicates for web crawling" (the tables).
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, UInt8, UInt64

from makar.data.dedup import Pairs, Verdict, judge, pairs_of, spill
from makar.data.words import mix

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, LOW, SMALL = 32, 8, 12
"""Side of the gray copy that is transformed, of its lowest frequencies, and of the small copy in colour."""

ALIKE = 4.0
"""Mean difference of the small copies, of 255, up to which two pictures are near-duplicates."""

REACH = 256
"""Earlier members of a run of equal keys that each picture is compared with."""

COSINES = 2 * np.cos(np.pi * np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1) / (2 * SIDE))


def small_copies(image: "Image") -> tuple[UInt8[np.ndarray, "32 32"], UInt8[np.ndarray, " small"]]:
    """The gray copy that is hashed, and the small one in colour that decides."""
    from PIL import Image

    gray = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    small = image.convert("RGB").resize((SMALL, SMALL), Image.Resampling.BOX)
    return np.asarray(gray), np.asarray(small).reshape(-1)


def hashes(gray: UInt8[np.ndarray, "rows 32 32"]) -> UInt64[np.ndarray, " rows"]:
    """Which of the 64 lowest frequencies of a picture are above their median: ImageHash's `phash`, bit for bit.

    Sums are rounded, so that frequencies which a picture does not have are equal and no noise.
    """
    low = np.round(COSINES @ gray.astype(np.float64) @ COSINES.T, 6).reshape(len(gray), LOW * LOW)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def find_alike(
    exact: UInt64[np.ndarray, " rows"],
    hashed: UInt64[np.ndarray, " rows"],
    small: Sequence[Path],
    test: Bool[np.ndarray, " rows"],
    *,
    out: Bool[np.ndarray, " rows"],
    near: int,
    work: Path,
) -> UInt8[np.ndarray, " rows"]:
    """The verdict on every picture; of two alike the later one goes, and none of the test set.

    Args:
        exact: Hashes of the pixels.
        hashed: Perceptual hashes.
        small: Files of small copies (.npy), which together are all rows.
        test: Which rows are in the test set.
        out: Rows that are left out: they go for another reason.
        near: Bits by which the hashes of near-duplicates may differ.
        work: An empty folder for what does not fit into memory.
    """
    verdicts = np.zeros(len(test), np.uint8)
    starts = np.cumsum([0] + [len(np.load(path, mmap_mode="r")) for path in small])
    spill([work / "exact"], [(mix(exact)[:, None], 0)])
    for pairs in pairs_of(work / "exact", test, out, reach=REACH):
        same = exact[pairs[:, 0]] == exact[pairs[:, 1]]
        judge(verdicts, pairs[same], test, Verdict.SAME, Verdict.SAME_AS_TEST)
    gone = out | (verdicts != Verdict.KEEP)
    for number, keys in enumerate(tables(hashed, near) if near else ()):
        path = work / f"table-{number:02}"
        spill([path], [(keys[:, None], 0)])
        for pairs in pairs_of(path, test, gone, reach=REACH):
            close = pairs[np.bitwise_count(hashed[pairs[:, 0]] ^ hashed[pairs[:, 1]]) <= near]
            alike = difference(close, small, starts) <= ALIKE
            judge(verdicts, close[alike], test, Verdict.NEAR, Verdict.NEAR_TEST)
    return verdicts


def tables(hashed: UInt64[np.ndarray, " rows"], near: int) -> Iterator[UInt64[np.ndarray, " rows"]]:
    """Keys such that hashes which differ in at most `near` bits have an equal one in at least one table.

    The bits are cut into two blocks more than may differ; so two blocks at least are equal, and there is a table for
    every two.
    """
    borders = np.linspace(0, 64, near + 3).round().astype(int)
    blocks = [
        (hashed >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        for low, high in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)
    ]
    for first, second in combinations(range(len(blocks)), 2):
        yield mix(blocks[first] | blocks[second] << np.uint64(32))


def difference(pairs: Pairs, small: Sequence[Path], starts: np.ndarray) -> np.ndarray:
    """The mean difference of the small copies of each pair, some thousands at a time."""
    step = 1 << 14
    found = [
        np.abs(gather(pairs[at : at + step, 0], small, starts) - gather(pairs[at : at + step, 1], small, starts)).mean(
            1
        )
        for at in range(0, len(pairs), step)
    ]
    return np.concatenate([np.zeros(0), *found])


def gather(rows: np.ndarray, small: Sequence[Path], starts: np.ndarray) -> np.ndarray:
    """The small copies of some rows, as signed numbers."""
    found = np.empty((len(rows), SMALL * SMALL * 3), np.int16)
    part = np.searchsorted(starts, rows, "right") - 1
    for number in np.unique(part):
        here = part == number
        found[here] = np.load(small[number], mmap_mode="r")[rows[here] - starts[number]]
    return found
