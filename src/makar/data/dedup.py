"""Exact and near-duplicates among any number of documents: hashes are spilled to disk and sorted there by pieces.

A document goes if an earlier one is the same; the documents of the test set come before all others and never go.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt8, UInt32, UInt64

from makar.data.minhash import BANDS, band_hashes, similarity

RECORD = np.dtype([("hash", "<u8"), ("row", "<u8")])
IN_MEMORY, WAYS, REACH = 4 << 20, 16, 32
"""Records sorted at once; files a longer one is dealt to; earlier members of a run that each one is compared with."""

Pairs = Int64[np.ndarray, "pairs 2"]


class Verdict(IntEnum):
    """Why a document goes."""

    KEEP = 0
    SAME = 1
    NEAR = 2
    SAME_AS_TEST = 3
    NEAR_TEST = 4


REASONS = {
    Verdict.SAME: "duplicate",
    Verdict.NEAR: "near-duplicate",
    Verdict.SAME_AS_TEST: "duplicate of a test document",
    Verdict.NEAR_TEST: "near-duplicate of a test document",
}


def find_duplicates(
    exact: Sequence[Path], signed: Sequence[Path], test: Bool[np.ndarray, " rows"], near: float, work: Path
) -> UInt8[np.ndarray, " rows"]:
    """The verdict on every row.

    Args:
        exact: Files of 64-bit text hashes (.npy), which together are all rows.
        signed: Files of signatures (.npy), cut the same way.
        test: Which rows are in the test set.
        near: The similarity from which two documents are near-duplicates; at 1 only equal ones are looked for.
        work: An empty folder for the spilled hashes; about 280 bytes a row are needed.
    """
    verdicts = np.zeros(len(test), np.uint8)
    starts = np.cumsum([0] + [len(np.load(path, mmap_mode="r")) for path in exact])
    spill([work / "exact"], ((np.load(path)[:, None], at) for path, at in zip(exact, starts, strict=False)))
    for pairs in pairs_of(work / "exact", test):
        alike = similar(pairs, signed, starts) == 1
        judge(verdicts, pairs[alike], test, Verdict.SAME, Verdict.SAME_AS_TEST)
    if near == 1:
        return verdicts
    bands = [work / f"band-{band:02}" for band in range(BANDS)]
    spill(bands, ((band_hashes(np.load(path)), at) for path, at in zip(signed, starts, strict=False)))
    gone = verdicts != Verdict.KEEP
    for band in bands:
        for pairs in pairs_of(band, test, gone):
            alike = similar(pairs, signed, starts) >= near
            judge(verdicts, pairs[alike], test, Verdict.NEAR, Verdict.NEAR_TEST)
    return verdicts


def judge(
    verdicts: UInt8[np.ndarray, " rows"],
    pairs: Pairs,
    test: Bool[np.ndarray, " rows"],
    among: Verdict,
    against: Verdict,
) -> None:
    """Of each pair of duplicates, the one that does not stand in the test set goes, or else the later one."""
    early, late = pairs.min(1), pairs.max(1)
    loser = np.where(test[late] & ~test[early], early, late)
    other = np.where(loser == late, early, late)
    verdict = np.where(test[other], against, among).astype(np.uint8)
    free = ~test[loser]
    np.maximum.at(verdicts, loser[free], verdict[free])


def spill(
    files: Sequence[Path], blocks: Iterable[tuple[UInt64[np.ndarray, "rows files"], Integer[np.ndarray, ""] | int]]
) -> None:
    """Append (hash, row) records to one file a column."""
    handles = [path.open("wb") for path in files]
    try:
        for hashes, start in blocks:
            records = np.empty(len(hashes), RECORD)
            records["row"] = int(start) + np.arange(len(hashes))
            for column, handle in enumerate(handles):
                records["hash"] = hashes[:, column]
                records.tofile(handle)
    finally:
        for handle in handles:
            handle.close()


def pairs_of(
    path: Path,
    test: Bool[np.ndarray, " rows"],
    gone: Bool[np.ndarray, " rows"] | None = None,
    depth: int = 0,
    reach: int = REACH,
) -> Iterator[Pairs]:
    """Pairs of rows with equal hashes, each row with up to `reach` before it; the file is used up.

    Args:
        path: Records; more than fit are first dealt to 16 files by the next four bits of the hash.
        test: Rows that come before all others, so that the first of the others meets one of them.
        gone: Rows to leave out.
        depth: How many times they have been dealt already.
        reach: Earlier members of a run that each row is paired with.
    """
    if path.stat().st_size > IN_MEMORY * RECORD.itemsize and depth < 16:
        ways = [path.with_name(f"{path.name}-{way:x}") for way in range(WAYS)]
        deal(path, ways, depth)
        path.unlink()
        for way in ways:
            yield from pairs_of(way, test, gone, depth + 1, reach)
        return
    records = np.fromfile(path, RECORD)
    path.unlink()
    if gone is not None:
        records = records[~gone[records["row"]]]
    records = records[np.lexsort((records["row"], ~test[records["row"]], records["hash"]))]
    hashes, rows = records["hash"], records["row"].astype(np.int64)
    same = np.arange(len(rows))
    for back in range(1, reach + 1):
        same = same[same + back < len(rows)]  # what equals the one so far behind it equals all between
        same = same[hashes[same + back] == hashes[same]]
        if not len(same):
            return
        yield np.stack((rows[same], rows[same + back]), 1)


def deal(path: Path, ways: Sequence[Path], depth: int) -> None:
    """Deal records to files by four bits of their hash."""
    handles = [way.open("wb") for way in ways]
    try:
        with path.open("rb") as file:
            while len(records := np.fromfile(file, RECORD, IN_MEMORY)):
                way = (records["hash"] >> np.uint64(60 - 4 * depth)) & np.uint64(WAYS - 1)
                for number, handle in enumerate(handles):
                    records[way == number].tofile(handle)
    finally:
        for handle in handles:
            handle.close()


def similar(pairs: Pairs, signed: Sequence[Path], starts: Int64[np.ndarray, " parts"]) -> np.ndarray:
    """The estimated similarity of each pair, some thousands at a time."""
    step = 1 << 15
    found = [
        similarity(gather(pairs[at : at + step, 0], signed, starts), gather(pairs[at : at + step, 1], signed, starts))
        for at in range(0, len(pairs), step)
    ]
    return np.concatenate([np.zeros(0), *found])


def gather(
    rows: Int64[np.ndarray, " n"], signed: Sequence[Path], starts: Int64[np.ndarray, " parts"]
) -> UInt32[np.ndarray, "n numbers"]:
    """The signatures of some rows; each file is mapped only while it is read, so that memory stays small."""
    part = np.searchsorted(starts, rows, "right") - 1
    found: UInt32[np.ndarray, "n numbers"] | None = None
    for number in np.unique(part):
        signatures = np.load(signed[number], mmap_mode="r")
        here = part == number
        if found is None:
            found = np.empty((len(rows), signatures.shape[1]), np.uint32)
        found[here] = signatures[rows[here] - starts[number]]
    return np.zeros((0, 1), np.uint32) if found is None else found
