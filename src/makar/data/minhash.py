"""MinHash signatures of word 5-grams, a batch of documents at once.

Paper: Broder 1997, "On the resemblance and containment of documents".
"""

from collections.abc import Iterator, Sequence

import numpy as np
import xxhash
from jaxtyping import Float, Int64, UInt32, UInt64

from makar.data.words import mix, word_hashes

GRAM, BANDS, ROWS = 5, 16, 8
"""Words of a shingle; the signature of 128 numbers in 16 bands of 8: at similarity 0.8, 95% of pairs share a band."""

MULTIPLIERS = mix(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64)) | np.uint64(1)
OFFSETS = mix(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64) + np.uint64(1 << 32))
UPPER = np.uint64(32)
CHUNK = 1 << 17
"""Characters hashed at once: what fits the cache of a core."""


def shingles(texts: Sequence[str]) -> tuple[UInt64[np.ndarray, " shingles"], Int64[np.ndarray, " texts_and_one"]]:
    """The hash of every run of five words; a shorter text is one shingle of all its words.

    Returns:
        The shingles of all texts in order, and where each text starts among them.
    """
    words, starts = word_hashes(texts)
    lengths = np.diff(starts)
    counts = np.maximum(lengths - GRAM + 1, 1)
    first = np.repeat(starts[:-1] - np.cumsum(np.concatenate(([0], counts[:-1]))), counts) + np.arange(counts.sum())
    end = np.repeat(starts[1:], counts)
    grams = np.zeros(len(first), np.uint64)
    padded = np.concatenate((words, np.zeros(GRAM, np.uint64)))
    for place in range(GRAM):
        at = first + place
        grams = mix(grams + np.where(at < end, padded[np.minimum(at, len(words))], np.uint64(place)))
    return grams, np.concatenate(([0], np.cumsum(counts)))


def signatures(texts: Sequence[str]) -> UInt32[np.ndarray, "texts numbers"]:
    """One signature a text: for each of 128 hash functions (multiply, add, upper half), the least over its shingles."""
    found = np.empty((len(texts), BANDS * ROWS), np.uint32)
    for start, end in chunks([len(text) for text in texts]):
        grams, starts = shingles(texts[start:end])
        for column, (multiplier, offset) in enumerate(zip(MULTIPLIERS, OFFSETS, strict=True)):
            found[start:end, column] = np.minimum.reduceat((grams * multiplier + offset) >> UPPER, starts[:-1])
    return found


def fingerprints(texts: Sequence[str]) -> UInt32[np.ndarray, "texts 2"]:
    """What stands for a signature where only equal texts are looked for: 64 bits of a hash of each."""
    hashes = [xxhash.xxh3_64_intdigest(text.encode(), seed=1) for text in texts]
    return np.array(hashes, np.uint64).view(np.uint32).reshape(-1, 2)


def chunks(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of texts of at most `CHUNK` characters together, or of one longer text."""
    start, held = 0, 0
    for at, length in enumerate(lengths):
        if held and held + length > CHUNK:
            yield start, at
            start, held = at, 0
        held += length
    if start < len(lengths):
        yield start, len(lengths)


def band_hashes(signature: UInt32[np.ndarray, "texts numbers"]) -> UInt64[np.ndarray, "texts bands"]:
    """One hash for each band of each signature."""
    found = np.zeros((len(signature), BANDS), np.uint64)
    for row in range(ROWS):
        found = mix(found + signature.reshape(-1, BANDS, ROWS)[:, :, row])
    return found


def similarity(
    left: UInt32[np.ndarray, "pairs numbers"], right: UInt32[np.ndarray, "pairs numbers"]
) -> Float[np.ndarray, " pairs"]:
    """The estimate of the Jaccard similarity of each pair, with a standard error of at most 0.044."""
    return (left == right).mean(1)
