"""Rows of whole conversations: packed together, padded, never cut across rows, and only the answers are learned.

The shards hold two facts in one number: `2 * id + 1` for a token that is to be learned, `2 * id` for one that is only
read. So the ids and the mask are written, hashed and checked as one thing.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Int64

from makar.core.errors import InputError
from makar.core.nouns import Batch
from makar.core.random import numpy_rng
from makar.data.tokens import TokenShards

Ids = Int64[np.ndarray, "_"]

BLOCK = 4096
"""Conversations counted at once."""


def learned(encode: Callable[[str], tuple[list[int], list[bool]]]) -> Callable[[list[str]], list[list[int]]]:
    """An encoding for `write_tokens` of texts whose tokens are learned or not: shards for `WholeRows`.

    Args:
        encode: The ids of one text, and which of them are to be learned.
    """
    return lambda texts: [[2 * token + int(mask) for token, mask in zip(*encode(text), strict=True)] for text in texts]


@final
class WholeRows:
    """A source of rows that hold whole conversations, pure in the step and of random access.

    Which conversations share a row is decided once; the order of the rows is shuffled anew each epoch.

    Args:
        shards: Written with `learned`, a conversation a document.
        length: Predictions in a row; a row holds one token more. A longer conversation loses its end.
        seed: Of the order of rows, and of which conversations of one length go where.
        pad_id: What fills the end of a row.
        cut: The share of all tokens to be learned that may be lost to the length.

    Raises:
        InputError: A conversation has nothing to be learned, or more is lost than may be.
    """

    def __init__(self, shards: TokenShards, length: int, seed: int, pad_id: int, cut: float = 0.01) -> None:
        assert length > 0
        self.shards, self.length, self.seed, self.pad_id = shards, length, seed, pad_id
        sizes, targets, kept = self._count()
        if not targets.all():
            raise InputError(
                "nothing is to be learned in a conversation",
                where=f"{shards.path}, document {int(np.argmin(targets)) + 1}",
                fix="give an answer of the assistant's, or leave it out",
            )
        self.targets = int(targets.sum())
        """Tokens to be learned in all conversations, whole."""
        self.truncated = int((sizes > length + 1).sum())
        """Conversations that lose their end, or have no answer left and are left out."""
        self.cut_targets = self.targets - int(kept.sum())
        """Tokens to be learned that are lost by that."""
        if self.cut_targets > cut * self.targets:
            raise InputError(
                f"{self.cut_targets / self.targets:.1%} of what is to be learned does not fit into rows of {length}",
                where=shards.path,
                value=f"{self.truncated} conversations are longer, the longest {int(sizes.max())} tokens",
                fix=f"set data.length={int(sizes.max()) - 1}, or data.cut to the share that may be lost",
            )
        fitting = np.flatnonzero(kept)
        if not len(fitting):
            raise InputError("no answer fits into a row", where=shards.path, value=length, fix="set data.length higher")
        self._sizes = np.minimum(sizes, length + 1)
        self._rows = pack(self._sizes, fitting, length + 1, numpy_rng(seed, "whole").permutation(len(fitting)))
        self._epoch = lru_cache(maxsize=2)(self._shuffle)  # two: a batch may lie across a border

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every conversation once."""
        return float(len(self._rows))

    @property
    def filled(self) -> float:
        """The share of places in rows that hold a token and no padding."""
        held = sum(int(self._sizes[row].sum()) for row in self._rows)
        return held / (len(self._rows) * (self.length + 1))

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size` of the stream of shuffled epochs.

        Returns:
            `tokens` [size, length + 1] int64; `segments` of the same shape, int32, which counts the conversations of a
            row from 0, the padding as one more; `loss_mask` of the same shape, bool: true for tokens to be learned.
        """
        width = self.length + 1
        tokens = np.full((size, width), self.pad_id, np.int64)
        segments = np.zeros((size, width), np.int32)
        mask = np.zeros((size, width), bool)
        for line, number in enumerate(range(step * size, (step + 1) * size)):
            end, row = 0, self._row(number)
            for segment, document in enumerate(row):
                begin, end = end, end + int(self._sizes[document])
                first = int(self.shards.offsets[document])
                both = self.shards.take(np.arange(first, first + end - begin))
                tokens[line, begin:end], mask[line, begin:end] = both >> 1, both & 1
                mask[line, begin] = False  # nothing stands before it that could predict it
                segments[line, begin:end] = segment
            segments[line, end:] = len(row)
        return {
            "tokens": torch.from_numpy(tokens),
            "segments": torch.from_numpy(segments),
            "loss_mask": torch.from_numpy(mask),
        }

    def origins(self, step: int, size: int) -> list[int]:
        """Which conversations a batch holds, in the order of the shards, from 0."""
        return [place for number in range(step * size, (step + 1) * size) for place in self._row(number).tolist()]

    def _row(self, number: int) -> Ids:
        epoch, place = divmod(number, len(self._rows))
        return self._rows[self._epoch(epoch)[place]]

    def _count(self) -> tuple[Ids, Ids, Ids]:
        """Of each conversation: its tokens, those to be learned, and how many of the latter fit into a row."""
        offsets = np.asarray(self.shards.offsets)
        sizes, counts = np.diff(offsets), list[tuple[Ids, Ids]]()
        for first in range(0, len(sizes), BLOCK):
            starts, held = offsets[first : first + BLOCK], sizes[first : first + BLOCK]
            begin = int(starts[0])
            starts = starts[: len(held)] - begin
            place = np.arange(held.sum()) - np.repeat(starts, held)
            mask = (self.shards.take(np.arange(held.sum()) + begin) & 1) * (place > 0)
            counts.append((np.add.reduceat(mask, starts), np.add.reduceat(mask * (place <= self.length), starts)))
        targets, kept = (np.concatenate(each) for each in zip(*counts, strict=True))
        return sizes, targets, kept

    def _shuffle(self, epoch: int) -> Ids:
        return numpy_rng(self.seed, "rows", epoch).permutation(len(self._rows))


def pack(sizes: Ids, chosen: Ids, width: int, order: Ids) -> list[Ids]:
    """Which documents share a row: the longest first, each into the fullest row that has room for it.

    Args:
        sizes: Tokens of every document.
        chosen: The documents to place, none longer than a row.
        width: Tokens of a row.
        order: A permutation of the chosen ones, by which documents of one size follow each other.

    Returns:
        The documents of each row, in the order of the corpus.
    """
    ranked = chosen[order]
    ranked = ranked[np.argsort(-sizes[ranked], kind="stable")]
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(width + 1)]  # by the room that is left
    free = 0  # bit n is set where a row has room for n more
    for document in ranked.tolist():
        size = int(sizes[document])
        fits = free >> size
        if fits:
            room = size + (fits & -fits).bit_length() - 1
            number = open_rows[room].pop()
            if not open_rows[room]:
                free &= ~(1 << room)
        else:
            room, number = width, len(rows)
            rows.append([])
        rows[number].append(document)
        left = room - size
        if left:
            open_rows[left].append(number)
            free |= 1 << left
    return [np.array(sorted(row), np.int64) for row in rows]
