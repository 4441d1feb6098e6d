"""Words as 64-bit hashes, a whole batch of texts at once."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int64, UInt64

BASE = 0x9E3779B97F4A7C15
INVERSE = pow(BASE, -1, 2**64)
"""An odd number and what undoes it modulo 2**64."""

IDEOGRAPHS = 0xE3
"""First byte of what is written without spaces, from Kana on: every such character starts a word."""


def mix(x: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """A bijection on 64 bits in which every input bit moves every output bit (the finalizer of MurmurHash3)."""
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))


def letters() -> np.ndarray:
    """A table of 256 bytes: letters and digits in lower case, 0 for everything else; bytes beyond ASCII are letters."""
    table = np.arange(256, dtype=np.uint8)
    for byte in range(128):
        character = chr(byte)
        table[byte] = ord(character.lower()) if character.isalnum() else 0
    return table


LETTERS = letters()


@lru_cache(4)
def powers(count: int, base: int) -> UInt64[np.ndarray, " count"]:
    """1, base, base**2, ... modulo 2**64."""
    found = np.full(count, base, np.uint64)
    found[:1] = 1
    return np.multiply.accumulate(found)


def word_hashes(texts: Sequence[str]) -> tuple[UInt64[np.ndarray, " words"], Int64[np.ndarray, " texts_and_one"]]:
    """The hash of every word, case and punctuation aside.

    Args:
        texts: A batch; about 50 times its size is needed in memory, and it is fastest below a megabyte.

    Returns:
        The words of all texts in order, and where each text starts among them.
    """
    encoded = [text.encode() for text in texts]
    starts = np.cumsum([0] + [len(data) + 1 for data in encoded])
    data = LETTERS[np.frombuffer(b"\n".join([*encoded, b""]), np.uint8)]
    inside = data > 0
    before = np.concatenate(([False], inside[:-1]))
    after = np.concatenate((inside[1:], [False]))
    lead = data >= IDEOGRAPHS
    first = np.flatnonzero(inside & (~before | lead))
    last = np.flatnonzero(inside & (~after | np.concatenate((lead[1:], [False])))) + 1
    # A word's hash is its polynomial in BASE: the difference of two prefix sums, shifted to start at power 0.
    room = 1 << len(data).bit_length()
    terms = data * powers(room, BASE)[: len(data)]
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))
    return mix((sums[last] - sums[first]) * powers(room, INVERSE)[first]), np.searchsorted(first, starts)
