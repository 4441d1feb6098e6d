"""Rows of tokens for training: every document, back to back, in an order shuffled anew each epoch, without end.

Row r covers positions [r * length, (r + 1) * length] of that endless stream, both ends included: it shares one token
with the next row, so that each token after the first is the target of exactly one prediction, across all borders of
rows, batches, shards and epochs.
"""

from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Int64

from makar.core.nouns import Batch
from makar.core.random import numpy_rng
from makar.data.tokens import TokenShards

Positions = Int64[np.ndarray, " tokens"]


@final
class PackedTokens:
    """A source of packed rows, pure in the step and of random access.

    Args:
        shards: The tokens of a split.
        length: Predictions in a row; a row holds one token more.
        seed: Of the order of documents.
        documents: Also give `segments`, by which an objective keeps documents from attending to each other.
    """

    def __init__(
        self,
        shards: TokenShards,
        length: int,
        seed: int,
        documents: bool = True,  # noqa: FBT001, FBT002
    ) -> None:
        assert length > 0
        self.shards, self.length, self.seed, self.documents = shards, length, seed, documents
        self._epoch = lru_cache(maxsize=2)(self._shuffle)  # two: a batch may lie across a border

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every token once; seldom a whole number."""
        return self.shards.tokens / self.length

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size` of the stream.

        Returns:
            `tokens` [size, length + 1] int64; if asked for, `segments` [size, length + 1] int32, which counts the
            documents that a row touches, from 0.
        """
        positions, numbers = self._span(step * size * self.length, size * self.length + 1)
        tokens = torch.from_numpy(self.shards.take(positions))
        rows = {"tokens": tokens.unfold(0, self.length + 1, self.length).contiguous()}
        if self.documents:
            windows = torch.from_numpy(numbers).unfold(0, self.length + 1, self.length)
            rows["segments"] = (windows - windows[:, :1]).int()
        return rows

    def origins(self, step: int, size: int) -> list[int]:
        """Which documents a batch holds tokens of, in the order of the shards, from 0."""
        _, numbers = self._span(step * size * self.length, size * self.length + 1)
        epochs, places = np.divmod(np.unique(numbers), self.shards.documents)
        return np.concatenate([self._order(int(each))[places[epochs == each]] for each in np.unique(epochs)]).tolist()

    def _span(self, begin: int, count: int) -> tuple[Positions, Positions]:
        """Where a stretch of the stream is stored, and the number of each token's document in the stream."""
        positions: list[Positions] = []
        numbers: list[Positions] = []
        while count:
            epoch, offset = divmod(begin, self.shards.tokens)
            taken = min(count, self.shards.tokens - offset)
            shifts, starts = self._epoch(epoch)
            first, last = np.searchsorted(starts, [offset, offset + taken - 1], side="right") - 1
            lengths = np.diff(np.clip(starts[first : last + 2], offset, offset + taken))
            positions.append(np.arange(offset, offset + taken) + np.repeat(shifts[first : last + 1], lengths))
            numbers.append(np.repeat(np.arange(first, last + 1) + epoch * self.shards.documents, lengths))
            begin, count = begin + taken, count - taken
        return np.concatenate(positions), np.concatenate(numbers)

    def _order(self, epoch: int) -> Positions:
        return numpy_rng(self.seed, "documents", epoch).permutation(self.shards.documents)

    def _shuffle(self, epoch: int) -> tuple[Positions, Int64[np.ndarray, " borders"]]:
        """One epoch's documents in order: stored position less position in the epoch, and the latter's borders."""
        order = self._order(epoch)
        offsets = self.shards.offsets
        starts = np.zeros(self.shards.documents + 1, np.int64)
        np.cumsum((offsets[1:] - offsets[:-1])[order], out=starts[1:])
        return offsets[:-1][order] - starts[:-1], starts
