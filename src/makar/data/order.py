"""The order in which rows are seen: all of them, shuffled anew each epoch, without end, from any place on."""

from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Int64

from makar.core.random import numpy_rng


@final
class Order:
    """The endless stream of shuffled epochs.

    Args:
        length: Rows of an epoch.
        seed: Of the shuffling.
    """

    def __init__(self, length: int, seed: int) -> None:
        assert length > 0
        self.length, self.seed = length, seed
        self._epoch = lru_cache(maxsize=2)(self._shuffle)  # two: a batch may lie across a border

    def rows(self, begin: int, count: int) -> Int64[np.ndarray, " count"]:
        """Which rows stand at some places of the stream."""
        parts: list[np.ndarray] = []
        while count:
            epoch, offset = divmod(begin, self.length)
            parts.append(self._epoch(epoch)[offset : offset + count])
            begin, count = begin + len(parts[-1]), count - len(parts[-1])
        return np.concatenate(parts)

    def _shuffle(self, epoch: int) -> Int64[np.ndarray, " rows"]:
        return numpy_rng(self.seed, "rows", epoch).permutation(self.length)
