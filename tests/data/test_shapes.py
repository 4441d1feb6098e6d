"""Shapes for one net: of its area, from tall to wide; and which picture goes to which."""

import math

import numpy as np
import pytest

from makar.data.shapes import Part, filled, placed, shapes_of

SHAPES = ((10, 5), (9, 7), (8, 8), (7, 9), (5, 10))


def sizes(*pairs):
    return np.array(pairs, np.int64).reshape(-1, 2)


def test_shapes_are_of_the_square_s_area_from_tall_to_wide():
    assert shapes_of(8, 5) == SHAPES
    assert shapes_of(8, 1) == ((8, 8),)


@pytest.mark.parametrize("side", [4, 8, 13, 16, 64])
@pytest.mark.parametrize("count", [3, 5, 7, 9])
def test_no_shape_is_larger_or_longer_than_it_may_be(side, count):
    try:
        found = shapes_of(side, count)
    except ValueError as fault:
        assert side < 16
        fewer = int(str(fault).split()[3])
        assert len(shapes_of(side, fewer)) == fewer < count
        return
    assert len(set(found)) == count
    assert found == tuple((wide, high) for high, wide in reversed(found))
    assert (side, side) in found
    ratios = [math.log2(high / wide) for high, wide in found]
    assert ratios == sorted(ratios, reverse=True)
    assert max(ratios) <= 1
    for high, wide in found:
        assert 0.75 * side * side <= high * wide <= side * side
    if side == 64:  # enough patches for ratios that are apart by equal factors
        assert np.allclose(ratios, np.linspace(1, -1, count), atol=0.05)


def test_more_shapes_than_there_are_is_refused_with_how_many_there_are():
    with pytest.raises(ValueError, match="set data.buckets to 3 or less: the net's square has 4 patches"):
        shapes_of(4, 5)
    with pytest.raises(ValueError, match="set data.buckets to 1 or less"):
        shapes_of(1, 3)


def test_a_picture_goes_to_the_shape_of_the_nearest_ratio_whatever_its_size():
    known = sizes((40, 20), (400, 90), (30, 31), (700, 900), (63, 100), (62, 100), (0, 0), (9, 9))
    assert placed(known, SHAPES, enlarge=False).tolist() == [0, 0, 2, 3, 3, 4, -1, 2]


def test_what_would_be_enlarged_is_left_out():
    known = sizes((9, 5), (10, 5), (7, 9), (7, 8))
    assert placed(known, SHAPES, enlarge=False).tolist() == [-1, 0, 3, -1]
    assert placed(known, SHAPES, enlarge=True).tolist() == [0, 0, 3, 3]


def test_shapes_with_too_few_pictures_are_given_up_one_after_the_other():
    """The fewest first: what it gives to a neighbour may be enough for that one."""
    known = sizes(*[(20, 10)] * 3, *[(18, 14)] * 2, *[(20, 20)] * 9, *[(10, 20)] * 4)
    left, folded = filled(known, SHAPES, 3, enlarge=False)
    assert left == ((10, 5), (8, 8), (5, 10))
    assert folded == {(7, 9): 0, (9, 7): 2}
    assert np.bincount(placed(known, left, enlarge=False)).tolist() == [3, 11, 4]
    assert filled(known, SHAPES, 4, enlarge=False)[0] == ((8, 8), (5, 10))
    assert filled(known, SHAPES, 15, enlarge=False)[0] == ((8, 8),)


def test_one_shape_stays_whatever_it_has():
    left, folded = filled(sizes((20, 10), (0, 0)), SHAPES, 8, enlarge=False)
    assert left == ((10, 5),)
    assert set(folded.values()) == {0}


def test_parts_are_known_by_their_pictures_and_their_shape():
    one = Part((8, 4), frozenset((1, 5, 3)))
    assert one.hash == Part((8, 4), frozenset((3, 1, 5))).hash
    assert len({one.hash, Part((4, 8), one.rows).hash, Part((8, 4), frozenset((1, 5))).hash}) == 3
