"""Pictures that a codec made small, kept for training: they are encoded once, and not at every step.

A folder of `latents.bin` (float32: rows x views x (mean, standard deviation) x channels x height x width; the second
view, if there is one, is the mirrored picture), `labels.bin` (if there are classes) and `meta.json` with the hashes of
the files, of the pixels and of the codec.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.files import folder_atomic
from makar.core.nouns import Batch
from makar.core.random import Rng
from makar.data.hashed import HashedFile, PictureShards, check_files, read_meta, write_meta
from makar.data.order import Order
from makar.data.pixels import PixelShards

ENCODED = 64
"""Pictures that are encoded at once."""

Moments = Callable[
    [Float[Tensor, "rows channels high wide"]],
    tuple[Float[Tensor, "rows latent lines places"], Float[Tensor, "rows latent lines places"]],
]
"""Mean and standard deviation of pictures in -1 to 1."""


@final
class LatentShards(PictureShards):
    """The latents of a split; opened with `LatentShards.open`."""

    @staticmethod
    def open(path: Path) -> "LatentShards":
        """Open a folder; sizes and hashes of all its files are checked.

        Raises:
            InputError: A file is missing, truncated or damaged.
        """
        again = f"remove {path} and run the same command again: the pictures are then encoded anew"
        meta = read_meta(path, "latent", again)
        check_files(path, meta, "latent", again)
        return LatentShards(path, meta)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, high, wide = self.meta["shape"]
        return channels, high, wide

    @cached_property
    def moments(self) -> np.ndarray:
        """Mean and standard deviation of every view, mapped into memory: [rows, views, 2, channels, height, width]."""
        views = 2 if self.meta["mirrored"] else 1
        return np.memmap(self.path / "latents.bin", "<f4", "r").reshape(-1, views, 2, *self.shape)


def write_latents(pixels: PixelShards, moments: Moments, out: Path, *, codec: str, mirrored: bool) -> LatentShards:
    """Encode every picture of a split once, or twice where it is also wanted mirrored.

    Args:
        pixels: Of the split.
        moments: The codec's.
        out: The folder to make; one that exists is replaced when the new one is whole.
        codec: The codec's hash.
        mirrored: Whether rows will be mirrored at random: the latents of a mirrored picture are not mirrored latents.
    """
    shape: tuple[int, ...] = ()
    with folder_atomic(out) as folder:
        written: dict[str, HashedFile] = {}
        with HashedFile(folder / "latents.bin") as file:
            for begin in range(0, pixels.rows, ENCODED):
                plain = pixels.take(np.arange(begin, min(begin + ENCODED, pixels.rows)))
                images = torch.from_numpy(plain).float().div_(127.5).sub_(1)
                views = [torch.stack(moments(view), 1) for view in (images, images.flip(-1))[: 1 + mirrored]]
                found = torch.stack(views, 1).float().cpu()
                shape = tuple(found.shape[3:])
                file.write(found.numpy().astype("<f4", copy=False))
            written["latents.bin"] = file
        if pixels.labels is not None:
            with HashedFile(folder / "labels.bin") as file:
                file.write(pixels.labels.astype("<i8", copy=False))
                written["labels.bin"] = file
        meta = {
            "format": 1,
            "pixels": pixels.hash,
            "codec": codec,
            "rows": pixels.rows,
            "shape": shape,
            "mirrored": mirrored,
            "classes": pixels.classes,
            "files": {name: file.record for name, file in written.items()},
        }
        write_meta(folder, meta)
    return LatentShards.open(out)


@final
class Latents:
    """A source of latents, pure in the step and of random access: each is drawn anew from its picture's Gaussian.

    Args:
        shards: The latents of a split.
        seed: Of the order of rows, and of the draws.
    """

    def __init__(self, shards: LatentShards, seed: int) -> None:
        self.shards, self.seed = shards, seed
        self.order = Order(shards.rows, seed)
        labels = shards.labels
        self._labels = None if labels is None else torch.from_numpy(labels)

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every picture once."""
        return float(self.shards.rows)

    def origins(self, step: int, size: int) -> list[int]:
        """Which pictures of the shards a batch holds, from 0."""
        return self.order.rows(step * size, size).tolist()

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size` of the stream of shuffled epochs.

        Returns:
            `images` [size, channels, height, width] float32; if there are classes, `label` [size] int64.
        """
        rows = self.order.rows(step * size, size)
        rng = Rng(self.seed, 0, torch.arange(step * size, step * size + size), "latents")
        view = (rng.uniform("flip") < 0.5).long().numpy() if self.shards.meta["mirrored"] else np.zeros(size, np.int64)
        mean, spread = torch.from_numpy(self.shards.moments[rows, view]).unbind(1)
        batch = {"images": mean + spread * rng.normal("posterior", *self.shards.shape)}
        if self._labels is not None:
            batch["label"] = self._labels[torch.from_numpy(rows)]
        return batch
