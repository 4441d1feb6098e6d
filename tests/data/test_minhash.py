import random

import datasketch
import numpy as np
import pytest

from makar.data.minhash import BANDS, CHUNK, ROWS, band_hashes, shingles, signatures, similarity
from tests.data.corpora import verse


def shared(seed, share, words=400):
    """Two texts of which about a share of the lines is the same."""
    rng = random.Random(seed)
    lines = [verse(f"{seed}/{n}", lines=1, words=8) for n in range(words // 8)]
    other = [line if rng.random() < share else verse(f"{seed}/{n}/x", lines=1, words=8) for n, line in enumerate(lines)]
    return "\n".join(lines), "\n".join(other)


def jaccard(left, right):
    a, b = (set(shingles([text])[0].tolist()) for text in (left, right))
    return len(a & b) / len(a | b)


def test_a_text_of_fewer_than_five_words_is_one_shingle():
    grams, starts = shingles(["", "one", "one two", "one two three four five", "a b c d e f"])
    assert np.diff(starts).tolist() == [1, 1, 1, 1, 2]
    assert len(set(grams.tolist())) == 6


def test_signatures_do_not_depend_on_the_batch():
    texts = [verse(seed, lines=seed % 40) for seed in range(60)] + ["x " * CHUNK]
    together = signatures(texts)
    for row in (0, 7, 39, 60):
        assert (together[row] == signatures([texts[row]])[0]).all()
    assert signatures([]).shape == (0, BANDS * ROWS)


def test_the_estimate_is_within_its_error_and_as_good_as_datasketch():
    """Over 60 pairs of every similarity: unbiased, and no worse than the field's library on the same sets."""
    ours, theirs = [], []
    for seed in range(60):
        left, right = shared(seed, seed / 60)
        true = jaccard(left, right)
        ours.append(float(similarity(*(signatures([text]) for text in (left, right)))[0]) - true)
        sketches = []
        for text in (left, right):
            sketch = datasketch.MinHash(BANDS * ROWS)
            sketch.update_batch([int(gram).to_bytes(8, "little") for gram in shingles([text])[0]])
            sketches.append(sketch)
        theirs.append(sketches[0].jaccard(sketches[1]) - true)
    assert abs(np.mean(ours)) < 3 * 0.044 / np.sqrt(60)
    assert np.abs(ours).max() < 4.5 * 0.044
    assert np.std(ours) < 1.4 * np.std(theirs)


@pytest.mark.parametrize(("value", "low", "high"), [(0.9, 0.99, 1.0), (0.5, 0.02, 0.12), (0.2, 0.0, 0.001)])
def test_pairs_share_a_band_as_often_as_the_theory_says(value, low, high):
    rng = np.random.default_rng(0)
    left = rng.integers(0, 2**32, (4000, BANDS * ROWS), np.uint32)
    right = np.where(rng.random(left.shape) < value, left, rng.integers(0, 2**32, left.shape, np.uint32))
    rate = (band_hashes(left) == band_hashes(right)).any(1).mean()
    assert low <= rate <= high
    assert abs(rate - (1 - (1 - value**ROWS) ** BANDS)) < 0.02
