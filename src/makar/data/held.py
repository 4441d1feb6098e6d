"""What is held out must not be trained on, not even in pieces: which documents share much of their text with it.

Near-duplicates are whole documents; the same poem may also stand in another book, cut at another line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt64

from makar.data.minhash import chunks, shingles
from makar.data.store import save_array

SHARE, ROOM = 0.2, 1 << 24
"""The share of its word 5-grams from which a document goes; 5-grams remembered (128 MiB)."""


@dataclass(frozen=True)
class Held:
    """The word 5-grams of held-out documents: all of them, or of more than fit those whose hash is small.

    Args:
        grams: Hashes, sorted, each once.
        below: The largest hash that is remembered; larger ones are looked at in no document.
    """

    grams: UInt64[np.ndarray, " grams"]
    below: np.uint64 = np.uint64(2**64 - 1)

    def add(self, grams: UInt64[np.ndarray, " more"]) -> "Held":
        """With the 5-grams of more documents; while there are too many, the upper half of the range is forgotten."""
        both = np.sort(np.concatenate((self.grams, grams[grams <= self.below])))
        held = replace(self, grams=both[np.diff(both, prepend=both[:1] + np.uint64(1)) != 0])
        while len(held.grams) > ROOM:
            below = held.below >> np.uint64(1)
            held = Held(held.grams[held.grams <= below], below)
        return held

    @cached_property
    def ends(self) -> Bool[np.ndarray, " ends"]:
        """Which remainders occur: by them most 5-grams are known not to be held out, and need no search."""
        found = np.zeros(ROOM, bool)
        found[self.grams % np.uint64(ROOM)] = True
        return found

    def contains(self, grams: UInt64[np.ndarray, " some"]) -> Bool[np.ndarray, " some"]:
        """Which 5-grams are held out."""
        found = self.ends[grams % np.uint64(ROOM)]
        place = np.searchsorted(self.grams, grams[found])
        found[found] = self.grams[np.minimum(place, len(self.grams) - 1)] == grams[found] if len(place) else False
        return found

    def save(self, path: Path) -> None:
        """Write it as one array, the border last."""
        save_array(path, np.append(self.grams, self.below))

    @classmethod
    def load(cls, path: Path) -> "Held":
        """Read what `save` wrote."""
        found = np.load(path)
        return cls(found[:-1], found[-1])


def hold(texts: Sequence[str], held: Held) -> Held:
    """The 5-grams of some texts, together with those already held."""
    grams = [shingles(texts[start:end])[0] for start, end in chunks([len(text) for text in texts])]
    return held.add(np.concatenate(grams)) if grams else held


def overlap(texts: Sequence[str], held: Held) -> Float[np.ndarray, " texts"]:
    """For each text, the share of its 5-grams that is held out."""
    found = np.zeros(len(texts))
    for start, end in chunks([len(text) for text in texts]):
        grams, starts = shingles(texts[start:end])
        seen = grams <= held.below
        counts = np.add.reduceat(seen, starts[:-1], dtype=np.int64)
        shared = np.add.reduceat(held.contains(grams) & seen, starts[:-1], dtype=np.int64)
        found[start:end] = shared / np.maximum(counts, 1)
    return found
