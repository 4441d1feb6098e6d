"""What general compressors make of the same bytes: the figures that a language model has to beat."""

import bz2
import lzma
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Compressed:
    """Bits per byte of the joined documents under two compressors at their best.

    Args:
        bytes: UTF-8 bytes, with one newline after each document.
        bzip2: Bits per byte of `bzip2 -9`.
        xz: Bits per byte of `xz -9e`.
    """

    bytes: int
    bzip2: float
    xz: float


def compress(texts: Iterable[str]) -> Compressed:
    """Compress documents as one stream, each followed by a newline; one document in memory at a time."""
    total, small, smaller = 0, 0, 0
    bzip2, xz = bz2.BZ2Compressor(9), lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)
    for text in texts:
        data = f"{text}\n".encode()
        total += len(data)
        small += len(bzip2.compress(data))
        smaller += len(xz.compress(data))
    small += len(bzip2.flush())
    smaller += len(xz.flush())
    return Compressed(total, 8 * small / max(1, total), 8 * smaller / max(1, total))
