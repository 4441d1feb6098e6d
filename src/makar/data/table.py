"""Rows of tensors in memory, in an order shuffled anew each epoch, without end."""

from typing import final

import torch

from makar.core.errors import InputError
from makar.core.nouns import Batch
from makar.data.order import Order


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
            fix = "give columns of one length"
            raise InputError("a table needs rows, and all its columns the same number", value=lengths, fix=fix)
        self.columns, self.seed = columns, seed
        self.length = next(iter(lengths.values()))
        self._order = Order(self.length, seed)

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every row once."""
        return float(self.length)

    def origins(self, step: int, size: int) -> list[int]:
        """Which rows of the table a batch holds, from 0."""
        return self._order.rows(step * size, size).tolist()

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size` of the stream of shuffled epochs."""
        rows = torch.from_numpy(self._order.rows(step * size, size))
        return {name: column[rows] for name, column in self.columns.items()}
