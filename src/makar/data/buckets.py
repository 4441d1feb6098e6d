"""Pictures of several shapes as rows, a batch of one shape each: aspect-ratio buckets.

Paper: SDXL, arXiv 2307.01952, section 2.3.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, final

import numpy as np
from jaxtyping import Int64

from makar.core.files import folder_atomic, seal_of
from makar.core.nouns import Batch, Source
from makar.core.random import numpy_rng
from makar.core.say import Say
from makar.data.dataset import Dataset
from makar.data.hashed import HashedFile, check_files, read_meta, write_meta
from makar.data.pictures import size_in

SIZES = "sizes.bin"


class Pictures(Source, Protocol):
    """A source over pictures of one shape."""

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every picture once."""
        ...


@final
class Buckets:
    """A source of which each batch has the rows of one shape: which one, and which rows, is pure in the step.

    Each shape has its own endless stream of shuffled epochs, cut into batches. The e-th epoch of all has those batches
    that end within the e-th epoch of their shape, in an order of its own: so shapes come as often as they have pictures
    for, and none is lost. At the end of an epoch every picture has been seen as often as there were epochs, but for
    fewer than a batch of each shape, which are the first of the next one.

    Args:
        sources: Of each shape.
        seed: Of the order of shapes.
    """

    def __init__(self, sources: Sequence[Pictures], seed: int) -> None:
        self.sources, self.seed = sources, seed
        self.rows = np.array([source.epoch_rows for source in sources], np.int64)
        assert len(sources), "no shape without pictures"
        assert self.rows.min() > 0, "no shape without pictures"
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every picture once."""
        return float(self.rows.sum())

    def batch(self, step: int, size: int) -> Batch:
        """So many rows of one shape, as its own source gives them."""
        shape, number = self.place(step, size)
        return self.sources[shape].batch(number, size)

    def place(self, step: int, size: int) -> tuple[int, int]:
        """Which shape a step has, and which of the shape's batches it is."""
        epoch = step * size // int(self.rows.sum())  # no later than that: every shape has at most what its share is
        while self.batches(epoch + 1, size).sum() <= step:
            epoch += 1
        before = self.batches(epoch, size)
        order = self._epoch(epoch, size)
        here = step - int(before.sum())
        shape = int(order[here])
        return shape, int(before[shape] + (order[:here] == shape).sum())

    def batches(self, epochs: int, size: int) -> Int64[np.ndarray, " shapes"]:
        """How many whole batches each shape has had after so many epochs."""
        return self.rows * epochs // size

    def _shuffle(self, epoch: int, size: int) -> Int64[np.ndarray, " batches"]:
        counts = self.batches(epoch + 1, size) - self.batches(epoch, size)
        return numpy_rng(self.seed, "shapes", epoch).permutation(np.repeat(np.arange(len(counts)), counts))


def kept_sizes(dataset: Dataset, split: str, *, say: Say) -> Int64[np.ndarray, "pictures 2"]:
    """Height and width of each picture of a split, in the dataset's folder: looked up once.

    Args:
        dataset: Of pictures.
        split: Which of its splits.
        say: Told when it takes time.

    Returns:
        0 and 0 for a picture without a caption, or one that cannot be read.

    Raises:
        InputError: What was kept is damaged.
    """
    folder = dataset.path / f"sizes-{split}-{seal_of(dataset.hash)[:12]}"
    if not folder.is_dir():
        say(f"looking up the shapes of the {split} split")
        sizes = [(size_in(each.image) if each.text else None) or (0, 0) for each in dataset.pictures(split)]
        with folder_atomic(folder) as place:
            with HashedFile(place / SIZES) as file:
                file.write(np.array(sizes, "<i8"))
            write_meta(place, {"format": 1, "dataset": dataset.hash, "split": split, "files": {SIZES: file.record}})
    again = f"remove {folder} and run the same command again: the pictures are then looked up anew"
    check_files(folder, read_meta(folder, "size", again), "size", again)
    return np.fromfile(folder / SIZES, "<i8").astype(np.int64, copy=False).reshape(-1, 2)
