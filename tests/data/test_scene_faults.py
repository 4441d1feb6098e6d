"""Malformed pictures: each differs from the scene that it would be, in the way that its name says."""

from dataclasses import replace

import numpy as np
import pytest

from makar.core.random import numpy_rng
from makar.data.scene_faults import FAULTS
from makar.data.scene_things import Scene

SIZE = 32

SCENE = Scene("cat", "crown", "beach", "red", 1, "middle")


def flat(scene, way):  # noqa: ARG001
    """Scenes that are of one gray each, by place and subject, with a bright right half."""
    value = {"beach": 60, "space": 120}.get(scene.place, 90) + 20 * (scene.subject != "cat")
    picture = np.full((3, SIZE, SIZE), value, np.uint8)
    picture[:, :, SIZE // 2 :] += 40
    return picture


@pytest.mark.parametrize("kind", FAULTS)
def test_a_malformed_picture_is_no_scene_and_is_pure_in_its_seed(kind):
    plain = flat(SCENE, 0)
    found = [FAULTS[kind](SCENE, 0, flat, numpy_rng(kind, seed)) for seed in range(20)]
    again = [FAULTS[kind](SCENE, 0, flat, numpy_rng(kind, seed)) for seed in range(20)]
    for one, two in zip(found, again, strict=True):
        assert one.shape == plain.shape
        assert one.dtype == np.uint8
        assert np.array_equal(one, two)
    assert np.mean([not np.array_equal(one, plain) for one in found]) > 0.6  # some tiles look alike


def test_pasted_pictures_are_of_two_places_with_a_straight_border():
    for seed in range(20):
        found = FAULTS["pasted"](SCENE, 0, lambda scene, way: flat(replace(scene, subject="cat"), way), numpy_rng(seed))
        kept = (found == flat(SCENE, 0)).all(0)
        assert kept.all(0).any() or kept.all(1).any()
        assert not kept.all()


def test_scrambled_pictures_hold_the_same_pixels_in_another_order():
    picture = np.arange(3 * SIZE * SIZE, dtype=np.int64).astype(np.uint8).reshape(3, SIZE, SIZE)
    for seed in range(30):
        found = FAULTS["scrambled"](SCENE, 0, lambda scene, way: picture, numpy_rng(seed))  # noqa: ARG005
        assert np.array_equal(np.sort(found, None), np.sort(picture, None))


def test_a_chimera_keeps_the_place():
    seen = []

    def look(scene, way):
        seen.append((scene.place, way))
        return flat(scene, way)

    FAULTS["chimera"](SCENE, 7, look, numpy_rng(0))
    assert seen == [("beach", 7), ("beach", 7)]
