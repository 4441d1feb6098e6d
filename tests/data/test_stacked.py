"""Stacked pictures: pure in the index, and made of what is there."""

import numpy as np
import pytest
import torch
from PIL import Image

from makar.core.errors import InputError
from makar.data.collect import collect
from makar.data.config import CollectOptions, PictureOptions
from makar.data.dataset import Dataset
from makar.data.pixels import kept_pixels
from makar.data.stacked import Stacked


@pytest.fixture
def dataset(tmp_path):
    """Gray pictures that are all of one shade, each of another."""
    (tmp_path / "pictures").mkdir()
    for number in range(30):
        values = np.full((6, 6), 8 * number, np.uint8)
        values[number // 6, number % 6] = 255
        Image.fromarray(values).save(tmp_path / "pictures" / f"{number}.png")
    collect([str(tmp_path / "pictures")], tmp_path / "set", CollectOptions(pictures=PictureOptions(near=0)))
    return Dataset.open(tmp_path / "set")


def test_a_row_is_three_pictures_and_a_function_of_its_place(dataset):
    shards = kept_pixels(dataset, "train", 6, 1, say=print)
    source = Stacked(shards, seed=3)
    whole = source.batch(0, 12)["images"]
    assert whole.shape == (12, 3, 6, 6)
    assert torch.equal(torch.cat([source.batch(step, 4)["images"] for step in range(3)]), whole)
    assert not torch.equal(Stacked(shards, seed=4).batch(0, 12)["images"], whole)
    rows = source.rows(0, 12)
    one = torch.from_numpy(shards.take(rows[5, 1:2].numpy())).float() / 127.5 - 1
    assert torch.equal(whole[5, 1:2], one[0])
    assert len(source.rows(0, 400).unique()) == shards.rows
    assert source.origins(1, 4) == rows[4:8].flatten().tolist()


def test_colours_are_not_stacked(dataset):
    with pytest.raises(InputError, match="gray"):
        Stacked(kept_pixels(dataset, "train", 6, 3, say=print), seed=0)
