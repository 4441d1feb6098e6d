"""Directions lead from other pictures to those of a class."""

import numpy as np
import pytest
import torch

from makar.data.pixels import Pixels, PixelShards
from makar.data.table import TensorSource
from makar.families.vae.family import FAMILY
from makar.families.vae.found import DIRECTIONS, directions, finish
from tests.families.vae.conftest import make


def shards(folder, classes=("dark", "bright")):
    """Pictures of two classes: dark and bright."""
    labels = np.arange(40) % 2
    pixels = np.where(labels == 1, 200, 40).astype(np.uint8)[:, None].repeat(64, 1)
    pixels.tofile(folder / "pixels-00000.bin")
    labels.astype("<i8").tofile(folder / "labels.bin")
    files = {"pixels-00000.bin": {}, "labels.bin": {}}
    return PixelShards(folder, {"rows": 40, "channels": 1, "size": 8, "classes": list(classes), "files": files})


def test_the_way_to_a_class_is_from_the_mean_of_the_others():
    model = make()
    torch.manual_seed(3)
    images, labels = torch.randn(30, 1, 8, 8), torch.arange(30) % 3
    labels[7] = -1
    ways = directions(
        model, [{"images": images[:20], "label": labels[:20]}, {"images": images[20:], "label": labels[20:]}], "abcd"
    )
    with torch.no_grad():
        codes = model.net.code_of(images)
    assert list(ways) == ["a", "b", "c"]  # nothing is of class d
    for label, way in enumerate(ways.values()):
        wanted = codes[labels == label].mean(0) - codes[(labels != label) & (labels >= 0)].mean(0)
        assert torch.allclose(way, wanted, atol=1e-5)


def test_a_trained_model_finds_them_in_its_rows(tmp_path):
    found = finish(make(), Pixels(shards(tmp_path), 0)).parts[DIRECTIONS]
    assert torch.allclose(found["dark"], -found["bright"], atol=1e-5)
    assert float(found["dark"].norm()) > 0.01


@pytest.mark.parametrize("classes", [(), ("one",)])
def test_without_classes_there_are_none(classes, tmp_path):
    assert FAMILY.finish(make(), Pixels(shards(tmp_path, classes), 0)).parts == {}
    assert FAMILY.finish(make(), TensorSource({"images": torch.zeros(4, 1, 8, 8)}, 0)).parts == {}
