"""Pictures for training: the pixels of a split at one size, memory-mapped, and rows that vary from epoch to epoch.

A folder of `pixels-00000.bin` ... (uint8, rows of channels x height x width), `labels.bin` (little-endian int64, if
there are classes), `captions.json` (a list, if they are wanted) and `meta.json` (counts, the SHA-256 of each file and
of itself).
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from makar.core.errors import InputError
from makar.core.files import folder_atomic, read_json, seal_of
from makar.core.nouns import Batch
from makar.core.random import Rng
from makar.core.say import Say
from makar.data.config import Augment, PictureOptions
from makar.data.dataset import Dataset
from makar.data.document import Fault
from makar.data.hashed import HashedFile, PictureShards, check_files, read_meta, write_meta
from makar.data.order import Order
from makar.data.pictures import decode
from makar.data.shapes import Part, Shape

SHARD_BYTES = 1 << 30

CAPTIONS = "captions.json"

Rows = Int64[np.ndarray, " rows"]


@final
class PixelShards(PictureShards):
    """The pictures of a split at one size; opened with `PixelShards.open`."""

    @staticmethod
    def open(path: Path) -> "PixelShards":
        """Open a folder of shards; sizes and hashes of all its files are checked.

        Raises:
            InputError: A file is missing, truncated or damaged.
        """
        again = f"remove {path} and run the same command again: the pictures are then decoded anew"
        meta = read_meta(path, "pixel", again)
        check_files(path, meta, "pixel", again)
        return PixelShards(path, meta)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        size = self.meta["size"]
        high, wide = (size, size) if isinstance(size, int) else size
        return self.meta["channels"], high, wide

    @property
    def left_out(self) -> int:
        """Pictures that could not be brought to this size: smaller ones, where they would be cut."""
        return self.meta["left_out"]

    @cached_property
    def captions(self) -> list[str]:
        """What is said of every picture; empty if captions were not wanted."""
        file = self.path / CAPTIONS
        return read_json(file) if CAPTIONS in self.meta["files"] else []

    @cached_property
    def _shards(self) -> list[np.ndarray]:
        files = [self.path / name for name in self.meta["files"] if name.startswith("pixels-")]
        return [np.memmap(file, np.uint8, "r").reshape(-1, *self.shape) for file in files]

    def take(self, rows: Rows) -> UInt8[np.ndarray, "rows channels height width"]:
        """Some pictures, whatever shard each lies in."""
        if len(self._shards) == 1:
            return self._shards[0][rows]
        shard, place = np.divmod(rows, self.meta["shard_rows"])
        pixels = np.empty((len(rows), *self.shape), np.uint8)
        for number in np.unique(shard):
            here = shard == number
            pixels[here] = self._shards[number][place[here]]
        return pixels


def write_pixels(
    dataset: Dataset,
    split: str,
    out: Path,
    options: PictureOptions,
    *,
    channels: Literal[1, 3] | None = None,
    captioned: bool = False,
    part: Part | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> PixelShards:
    """Decode a split into pixels of one size; one picture is in memory at a time.

    Args:
        dataset: Of pictures.
        split: Which of its splits.
        out: The folder to make; one that exists is replaced when the new one is whole.
        options: Size, fit, filter; without a size, all pictures must have one and the same.
        channels: 1 for gray, 3 for colour; None for what the dataset has.
        captioned: Whether to keep captions; pictures without one, or with a blank one, are then left out.
        part: Which of the pictures, and the shape to bring them to; all, as squares, if left out.
        shard_bytes: Bytes in each file but the last.

    Raises:
        InputError: There is no picture of that size, or the pictures have several sizes and none was asked for.
    """
    facts = dataset.manifest.pictures
    if facts is None:
        raise InputError("a dataset without pictures", where=dataset.path, fix="collect pictures")
    high, wide = part.shape if part else (options.size or side_of(dataset),) * 2
    depth = channels or facts.channels
    shard_rows = max(1, shard_bytes // (depth * high * wide))
    labels, captions = list[int](), list[str]()
    rows = left_out = 0
    with folder_atomic(out) as folder, ExitStack() as files:
        written: dict[str, HashedFile] = {}
        for pixels, label, text in decoded(dataset, split, options, depth, part or (high, wide)):
            if pixels is None or (captioned and not (text or "").strip()):
                left_out += 1
                continue
            name = f"pixels-{rows // shard_rows:05}.bin"
            if name not in written:
                written[name] = files.enter_context(HashedFile(folder / name))
            written[name].write(pixels)
            rows += 1
            labels.append(-1 if label is None else label)
            captions.append(text or "")
        if not rows:
            raise none_left(dataset, split, high if high == wide else f"{wide}x{high}", left_out, captioned=captioned)
        if facts.classes:
            written["labels.bin"] = files.enter_context(HashedFile(folder / "labels.bin"))
            written["labels.bin"].write(np.array(labels, "<i8"))
        if captioned:
            written[CAPTIONS] = files.enter_context(HashedFile(folder / CAPTIONS))
            written[CAPTIONS].write(np.frombuffer(json.dumps(captions).encode(), np.uint8))
        files.close()
        meta = {
            "format": 1,
            "dataset": dataset.hash,
            "split": split,
            "options": options.model_dump(),
            "rows": rows,
            "channels": depth,
            "size": part.shape if part else high,
            "classes": facts.classes,
            "left_out": left_out,
            "shard_rows": shard_rows,
            "files": {name: file.record for name, file in written.items()},
        }
        write_meta(folder, meta)
    return PixelShards.open(out)


def none_left(dataset: Dataset, split: str, size: object, left_out: int, *, captioned: bool) -> InputError:
    """Why a split has no picture of a size, and what to do about it."""
    facts, fix = dataset.manifest.pictures, "collect with a larger valid_fraction, or more pictures"
    if captioned and facts and not facts.captions:
        fix = "give them captions"
    elif left_out:
        fix = "choose a smaller size, or fit='pad'"
    return InputError(f"no picture of {size} pixels in {split!r}", where=dataset.path, value=left_out, fix=fix)


def kept_pixels(
    dataset: Dataset,
    split: str,
    size: int | Part,
    channels: Literal[1, 3],
    *,
    captioned: bool = False,
    say: Say,
) -> PixelShards:
    """The pixels of a split in the dataset's folder, decoded once for each size or shape.

    Args:
        dataset: Of pictures.
        split: Which of its splits.
        size: Side in pixels; or which of the pictures to bring to which shape.
        channels: 1 for gray, 3 for colour.
        captioned: Whether to keep captions; pictures without one are then left out.
        say: Told when it takes time.

    Raises:
        InputError: As `write_pixels`.
    """
    part = size if isinstance(size, Part) else None
    options = dataset.manifest.options.pictures.model_copy(update={"size": None if part else size})
    more = [*(["captioned"] if captioned else []), *([part.hash] if part else [])]
    key = seal_of([dataset.hash, options.model_dump(mode="json"), channels, *more])
    folder = dataset.path / f"pixels-{split}-{key[:12]}"
    if folder.is_dir():
        return PixelShards.open(folder)
    say(f"decoding the {split} split" + (f" at {part.shape[1]}x{part.shape[0]}" if part else ""))
    return write_pixels(dataset, split, folder, options, channels=channels, captioned=captioned, part=part)


def side_of(dataset: Dataset) -> int:
    """The side of the square that all pictures of a dataset are.

    Raises:
        InputError: They are not all of one size, or no squares.
    """
    facts = dataset.manifest.pictures
    assert facts is not None
    if facts.smallest != facts.largest or facts.smallest[0] != facts.smallest[1]:
        sizes = f"{facts.smallest} to {facts.largest}"
        raise InputError("pictures of several shapes", where=dataset.path, value=sizes, fix="set a size in pixels")
    return facts.smallest[0]


def decoded(
    dataset: Dataset, split: str, options: PictureOptions, channels: int, wanted: Part | Shape
) -> Iterator[tuple[UInt8[np.ndarray, "channels height width"] | None, int | None, str | None]]:
    """The pixels of every picture, or None where it cannot be brought to the shape, its label and its caption."""
    shape = wanted.shape if isinstance(wanted, Part) else wanted
    for place, picture in enumerate(dataset.pictures(split)):
        if isinstance(wanted, Part) and place not in wanted.rows:
            continue
        still = decode(picture.image, picture.id, options, shape)
        if isinstance(still, Fault):
            yield None, None, None
            continue
        pixels = np.asarray(still.image.convert("L" if channels == 1 else "RGB"))
        yield np.atleast_3d(pixels).transpose(2, 0, 1), picture.label, picture.text


@final
class Pixels:
    """A source of pictures, pure in the step and of random access.

    Args:
        shards: The pixels of a split.
        seed: Of the order of rows, and of how each varies.
        augment: How rows vary; they do not, if it is not said.
    """

    def __init__(self, shards: PixelShards, seed: int, augment: Augment = Augment()) -> None:  # noqa: B008
        self.shards, self.seed, self.augment = shards, seed, augment
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
            `images` [size, channels, height, width] float32 in -1..1; if there are classes, `label` [size] int64.
        """
        rows = self.order.rows(step * size, size)
        images = torch.from_numpy(self.shards.take(rows)).float().div_(127.5).sub_(1)
        places = torch.arange(step * size, step * size + size)  # in the stream: a row varies alike in any batch
        batch = {"images": vary(images, self.augment, Rng(self.seed, 0, places, "augment"))}
        if self._labels is not None:
            batch["label"] = self._labels[torch.from_numpy(rows)]
        return batch


def vary(
    images: Float[Tensor, "rows channels height width"], augment: Augment, rng: Rng
) -> Float[Tensor, "rows channels height width"]:
    """Mirror, cut and colour rows at random.

    Args:
        images: In -1..1.
        augment: How much.
        rng: Of the rows.
    """
    if augment.flip:
        mirrored = rng.uniform("flip", 1)[:, :, None, None] < 0.5
        images = torch.where(mirrored, images.flip(-1), images)
    if augment.crop < 1:
        share = augment.crop + (1 - augment.crop) * rng.uniform("crop", 1)
        shift = (1 - share) * (2 * rng.uniform("shift", 2) - 1)
        boxes = torch.cat((torch.diag_embed(share.expand(-1, 2)), shift[:, :, None]), 2)
        grid = F.affine_grid(boxes, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if augment.jitter:
        contrast, brightness = (augment.jitter * (2 * rng.uniform("jitter", 2) - 1)).unbind(1)
        images = (images * (1 + contrast)[:, None, None, None] + brightness[:, None, None, None]).clamp(-1, 1)
    return images
