"""Keys of random streams, from seeds and names; and numpy's generators by them. Imports no torch."""

import hashlib
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=4096)
def key_of(*parts: int | str) -> int:
    """A 64-bit key from a tuple of seeds and names, equal on every machine and in every process."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def numpy_rng(*parts: int | str) -> np.random.Generator:
    """A numpy generator for host-side work such as shuffles, keyed by seeds and names."""
    return np.random.Generator(np.random.Philox(key=key_of(*parts)))
