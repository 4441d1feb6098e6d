"""Rows of pictures with what is said of them as tokens: of a dataset, or of scenes without end."""

from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from makar.core.nouns import Batch, LatentCodec, Source
from makar.core.random import Rng
from makar.data.latents import Latents
from makar.data.pixels import Pixels
from makar.data.scenes import Scenes

Encode = Callable[[Sequence[str]], Int[Tensor, "rows length"]]
"""Texts to tokens, padded to one length."""


@final
class Captioned:
    """A source of pictures, or of their latents, with their captions; pure in the step and of random access.

    Args:
        pictures: Of a split.
        tokens: Of the caption of each, in the order of the split.
    """

    def __init__(self, pictures: Pixels | Latents, tokens: Int[Tensor, "pictures length"]) -> None:
        assert len(tokens) == pictures.shards.rows, (len(tokens), pictures.shards.rows)
        self.pictures, self.tokens = pictures, tokens

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every picture once."""
        return self.pictures.epoch_rows

    def origins(self, step: int, size: int) -> list[int]:
        """Which of the encoded pictures a batch holds, in their order, from 0."""
        return self.pictures.origins(step, size)

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size` of the stream of shuffled epochs.

        Returns:
            What the pictures' own batch holds, and `tokens` [size, length] int64.
        """
        rows = torch.from_numpy(self.pictures.order.rows(step * size, size))
        return {**self.pictures.batch(step, size), "tokens": self.tokens[rows]}


@final
class SceneRows:
    """A source of scenes with their captions, none of which comes twice; pure in the step and of random access.

    Args:
        scenes: Without end.
        encode: Captions to tokens; None for pictures alone.
    """

    def __init__(self, scenes: Scenes, encode: Encode | None) -> None:
        self.scenes, self.encode = scenes, encode

    def batch(self, step: int, size: int) -> Batch:
        """Scenes `step * size` to `step * size + size`.

        Returns:
            `images` [size, 3, side, side] float32 in -1..1, and `tokens` [size, length] int64 if there is an encoding.
        """
        rows = [self.scenes.row(place) for place in range(step * size, step * size + size)]
        pixels = torch.from_numpy(np.stack([pixels for pixels, _, _ in rows]))
        batch = {"images": pixels.float().div_(127.5).sub_(1)}
        if self.encode is not None:
            batch["tokens"] = self.encode([caption for _, caption, _ in rows])
        return batch


@final
class Encoded:
    """A source whose pictures a codec makes small, each time anew: for those that never come twice.

    Args:
        source: Of `images` in -1..1.
        codec: What learns in their place.
        seed: Of the draws from each picture's Gaussian.
    """

    def __init__(self, source: Source, codec: LatentCodec, seed: int) -> None:
        self.source, self.codec, self.seed = source, codec, seed

    @torch.no_grad()
    def batch(self, step: int, size: int) -> Batch:
        """The source's batch, with latents as `images`."""
        batch = self.source.batch(step, size)
        mean, spread = self.codec.moments(batch["images"])
        rng = Rng(self.seed, 0, torch.arange(step * size, step * size + size), "latents")
        return {**batch, "images": mean + spread * rng.normal("posterior", *mean.shape[1:])}
