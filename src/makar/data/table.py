"""Rows of tensors in memory, in an order shuffled anew each epoch, without end."""

from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from makar.core.errors import InputError
from makar.core.nouns import Batch
from makar.core.random import numpy_rng


@final
class TensorSource:
    """A source over a table that fits in memory, pure in the step.

    Args:
        columns: Named tensors with the same number of rows.
        seed: Of the order of rows.

    Raises:
        InputError: No rows, or columns of different lengths.
    """

    def __init__(self, columns: Batch, seed: int) -> None:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise InputError("a table needs rows, and all its columns the same number", value=lengths)
        self.columns, self.seed = columns, seed
        self.length = next(iter(lengths.values()))
        self._epoch = lru_cache(maxsize=2)(self._shuffle)  # two: a batch may lie across a border

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every row once."""
        return float(self.length)

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size` of the stream of shuffled epochs."""
        rows = self._rows(step * size, size)
        return {name: column[rows] for name, column in self.columns.items()}

    def _rows(self, begin: int, count: int) -> Int64[Tensor, " count"]:
        parts: list[np.ndarray] = []
        while count:
            epoch, offset = divmod(begin, self.length)
            parts.append(self._epoch(epoch)[offset : offset + count])
            begin, count = begin + len(parts[-1]), count - len(parts[-1])
        return torch.from_numpy(np.concatenate(parts))

    def _shuffle(self, epoch: int) -> Int64[np.ndarray, " rows"]:
        return numpy_rng(self.seed, "rows", epoch).permutation(self.length)
