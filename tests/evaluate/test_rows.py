"""Means over rows, with their errors and counts."""

import math

import numpy as np
import pytest

from makar.evaluate.choice import standard_error
from makar.evaluate.rows import COUNT, ERROR, over_rows, ratio


def test_a_share_has_the_error_of_a_share():
    rows = [1.0] * 7 + [0.0] * 13
    value, error = ratio(rows, [1.0] * 20)
    assert value == 7 / 20
    assert error == pytest.approx(standard_error(7 / 20, 20))


def test_of_rows_of_any_size_the_error_is_that_of_drawing_them_again():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, 400).astype(float)
    scores = rng.binomial(sizes.astype(int), rng.uniform(0, 1, 400)).astype(float)
    value, error = ratio(scores.tolist(), sizes.tolist())
    again = [rng.integers(0, 400, 400) for _ in range(3000)]
    drawn = [scores[rows].sum() / sizes[rows].sum() for rows in again]
    assert value == pytest.approx(scores.sum() / sizes.sum())
    assert error == pytest.approx(np.std(drawn), rel=0.06)


def test_rows_of_no_size_are_no_rows():
    assert ratio([1.0, 0.0, 5.0], [2.0, 0.0, 3.0]) == ratio([1.0, 5.0], [2.0, 3.0])
    assert ratio([], []) == ratio([0.0], [0.0]) == (None, None)
    assert ratio([1.0], [2.0]) == (0.5, None)


def test_a_figure_knows_whose_error_it_tells():
    found = over_rows("told", {"model": [0.0, 1.0], "held-out": [1.0, 1.0, 1.0]}, "%")
    assert found.values == {"model": 0.5, "held-out": 1.0, ERROR: math.sqrt(0.25), COUNT: 2}
    sized = over_rows("told", {"model": [1.0, 0.0]}, sizes={"model": [4.0, 0.0]})
    assert sized.values == {"model": 0.25, ERROR: None, COUNT: 1}
