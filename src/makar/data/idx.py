"""IDX: the format of MNIST and Fashion-MNIST, a header of big-endian sizes and then bytes.

Read as it streams by; what the header says is checked against what follows.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from makar.core.errors import InputError
from makar.data.archives import Entry

IMAGES = re.compile(r"[-_.]?images[-._]idx3[-._]ubyte(\.gz|\.xz|\.zst)?$")
LABELS = re.compile(r"[-_.]?labels[-._]idx1[-._]ubyte(\.gz|\.xz|\.zst)?$")
"""How these files are called; what stands before is the same for pictures and their labels."""

LONGEST_SIDE = 1024

CLASS_NAMES: Mapping[str, Sequence[str]] = {
    "fashion-mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
}  # fmt: skip
"""What the numbers of a set mean, by what its path holds: the format has no room for names."""


def read_images(entry: Entry) -> Iterator[UInt8[np.ndarray, "height width"]]:
    """The pictures of a file, one after the other.

    Raises:
        InputError: It is no IDX file of pictures, or holds fewer than it says.
    """
    with entry.open() as file:
        count, height, width = header(file.read(16), 3, entry)
        if not 0 < height <= LONGEST_SIDE or not 0 < width <= LONGEST_SIDE:
            raise InputError("pictures of an odd size", where=entry.name, value=(height, width), fix="copy it again")
        for number in range(count):
            data = file.read(height * width)
            if len(data) < height * width:
                what = f"truncated: {number} of {count} pictures are there"
                raise InputError(what, where=entry.name, fix="copy or download it again")
            yield np.frombuffer(data, np.uint8).reshape(height, width)


def read_labels(entry: Entry) -> UInt8[np.ndarray, " rows"]:
    """The labels of a file.

    Raises:
        InputError: It is no IDX file of labels, or holds fewer than it says.
    """
    with entry.open() as file:
        (count,) = header(file.read(8), 1, entry)
        data = file.read(count)
    if len(data) < count:
        what = f"truncated: {len(data)} of {count} labels are there"
        raise InputError(what, where=entry.name, fix="copy or download it again")
    return np.frombuffer(data, np.uint8)


def header(data: bytes, dimensions: int, entry: Entry) -> tuple[int, ...]:
    """The sizes that a file begins with.

    Raises:
        InputError: It begins otherwise.
    """
    if len(data) < 4 + 4 * dimensions or data[:4] != bytes((0, 0, 8, dimensions)):
        fix = "it should begin with 00 00 08 and the number of dimensions; copy it again"
        raise InputError("not an IDX file of bytes", where=entry.name, value=data[:4], fix=fix)
    return struct.unpack(f">{dimensions}I", data[4:])
