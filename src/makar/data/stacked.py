"""Gray pictures stacked into colours: each row is one in red, one in green and one in blue, drawn at random.

Of ten digits that makes a thousand kinds of pictures that nobody has to label: whether a model makes all of them can be
counted. Paper: arXiv 1611.02163, section 3.3.1 ("Stacked MNIST").
"""

from typing import final

import numpy as np
import torch

from makar.core.errors import InputError
from makar.core.nouns import Batch
from makar.core.random import Rng
from makar.data.pixels import PixelShards

COLOURS = 3


@final
class Stacked:
    """A source of stacked pictures, pure in the step and of random access.

    Args:
        shards: Gray pictures of a split.
        seed: Of what is stacked on what.

    Raises:
        InputError: The pictures are not gray.
    """

    def __init__(self, shards: PixelShards, seed: int) -> None:
        if shards.shape[0] != 1:
            raise InputError(
                "only gray pictures can be stacked into colours", value=shards.shape[0], fix="leave data.stack out"
            )
        self.shards, self.seed = shards, seed

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see as many pictures as there are."""
        return self.shards.rows / COLOURS

    def rows(self, step: int, size: int) -> torch.Tensor:
        """Which pictures make the rows of a batch, `[size, 3]`."""
        places = torch.arange(step * size, step * size + size)
        return Rng(self.seed, 0, places, "stack").integers("row", self.shards.rows, COLOURS)

    def origins(self, step: int, size: int) -> list[int]:
        """Which pictures of the shards a batch is made of, from 0."""
        return self.rows(step, size).flatten().tolist()

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size` of an endless stream.

        Returns:
            `images` [size, 3, height, width] float32 in -1..1, without labels.
        """
        taken = self.shards.take(np.ascontiguousarray(self.rows(step, size).flatten().numpy()))
        _, side, _ = self.shards.shape
        return {"images": torch.from_numpy(taken).view(size, COLOURS, side, side).float().div_(127.5).sub_(1)}
