"""Batches of one shape each: pure in the step, each picture once an epoch, and none lost at a border."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from makar.core.errors import InputError
from makar.core.nouns import Source
from makar.data.buckets import Buckets, kept_sizes
from makar.data.collect import collect
from makar.data.config import CollectOptions, PictureOptions
from makar.data.dataset import Dataset
from makar.data.pictures import Unusable, fit, size_in
from makar.data.pixels import PixelShards, kept_pixels
from makar.data.shapes import Part
from makar.data.table import TensorSource
from tests.data.drawn import file_of, noise

LENGTHS = (23, 7, 50)


def buckets(lengths=LENGTHS, seed=1):
    """Rows that say of which shape they are, and which of its pictures."""
    columns = [{"shape": torch.full((n,), k), "row": torch.arange(n)} for k, n in enumerate(lengths)]
    return Buckets([TensorSource(each, seed + k) for k, each in enumerate(columns)], seed)


def seen(source, steps, size):
    """How often each picture of each shape was in the first batches."""
    counts = [np.zeros(n, int) for n in source.rows]
    for step in range(steps):
        batch = source.batch(step, size)
        assert len(batch["shape"].unique()) == 1
        assert len(batch["row"]) == size
        np.add.at(counts[int(batch["shape"][0])], batch["row"].numpy(), 1)
    return counts


def test_a_batch_has_one_shape_and_is_pure_in_the_step():
    source, again = buckets(), buckets()
    assert isinstance(source, Source)
    assert source.epoch_rows == 80
    batches = [source.batch(step, 4) for step in range(60)]
    for step in (59, 0, 31, 58, 7):
        assert all(torch.equal(again.batch(step, 4)[name], column) for name, column in batches[step].items())
    other = buckets(seed=2)
    assert [int(each["shape"][0]) for each in batches] != [int(other.batch(s, 4)["shape"][0]) for s in range(60)]


@pytest.mark.parametrize("lengths", [LENGTHS, (5, 5, 5), (40,), (1, 99), (6, 6, 6, 6, 6)])
@pytest.mark.parametrize("size", [1, 4, 5, 8])
def test_each_epoch_shows_every_picture_once_but_for_what_fills_no_batch(lengths, size):
    """Of each shape fewer than a batch are left at an epoch's end, and are the first that follow."""
    source = buckets(lengths)
    for epochs in (1, 2, 3, 7):
        steps = int(source.batches(epochs, size).sum())
        for length, counts in zip(lengths, seen(source, steps, size), strict=True):
            assert counts.sum() == epochs * length // size * size
            assert epochs * length - counts.sum() < size
            if length >= size:
                assert set(counts.tolist()) <= {epochs, epochs - 1}
        assert sum(lengths) * epochs - steps * size < size * len(lengths)


def test_where_batches_fill_epochs_nothing_is_left_at_all():
    source = buckets((8, 4, 20))
    assert all((counts == 3).all() for counts in seen(source, 3 * 8, 4))


def test_shapes_come_in_proportion_and_in_no_order():
    source = buckets((300, 100))
    drawn = [source.place(step, 4)[0] for step in range(200)]
    assert Counter(drawn[:100]) == Counter(drawn[100:]) == {0: 75, 1: 25}
    assert drawn[:100] != drawn[100:]
    assert drawn[:75] != [0] * 75


def test_every_batch_of_a_shape_comes_once_and_in_its_turn():
    source = buckets((9, 4, 3))
    places = [source.place(step, 6) for step in range(400)]
    for shape in range(3):
        numbers = [number for each, number in places if each == shape]
        assert numbers == list(range(len(numbers)))


def test_far_steps_cost_no_more_than_near_ones():
    source = buckets((3, 1_000_003))
    shape, number = source.place(10**9, 16)
    assert number <= 10**9
    assert shape in (0, 1)


SIDES = {"tall": (20, 41), "square": (31, 30), "wide": (64, 30)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Pictures of three shapes, as they are, with captions but for every seventh."""
    root = tmp_path_factory.mktemp("shapes")
    (root / "a").mkdir()
    for seed in range(24):
        name, size = list(SIDES.items())[seed % 3]
        noise(seed, side=80).resize(size).save(root / "a" / f"{seed:02}.png")
        if seed % 7:
            (root / "a" / f"{seed:02}.txt").write_text(f"{name} {seed}")
    options = CollectOptions(test_fraction=0, valid_fraction=0, pictures=PictureOptions(near=0))
    collect([str(root / "a")], root / "out", options)
    return Dataset.open(root / "out")


def test_sizes_are_looked_up_once(dataset):
    said = []
    found = kept_sizes(dataset, "train", say=said.append)
    wanted = [
        (SIDES[picture.text.split()[0]][::-1] if picture.text else (0, 0)) for picture in dataset.pictures("train")
    ]
    assert found.tolist() == [list(size) for size in wanted]
    assert (found == 0).all(1).sum() == 4
    assert np.array_equal(kept_sizes(dataset, "train", say=said.append), found)
    assert len(said) == 1
    (file,) = dataset.path.glob("sizes-train-*/sizes.bin")
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(InputError, match="size shard is damaged"):
        kept_sizes(dataset, "train", say=said.append)
    file.write_bytes(whole)


def test_the_size_of_a_file_is_read_from_its_header():
    data = file_of(noise(1, side=40).resize((30, 50)))
    assert size_in(data[:64]) == (50, 30)
    assert size_in(b"no picture") is None


def test_a_part_of_a_split_is_covered_and_cut_to_its_shape(dataset):
    said, sizes = [], kept_sizes(dataset, "train", say=lambda line: None)
    rows = frozenset(np.flatnonzero((sizes == (30, 64)).all(1)).tolist())
    part = Part((16, 32), rows)
    shards = kept_pixels(dataset, "train", part, 3, captioned=True, say=said.append)
    assert said == ["decoding the train split at 32x16"]
    assert (shards.rows, shards.shape, shards.left_out) == (len(rows), (3, 16, 32), 0)
    assert all(caption.startswith("wide") for caption in shards.captions)
    seed = int(shards.captions[0].split()[1])
    whole = noise(seed, side=80).resize((64, 30))
    assert np.array_equal(
        shards.take(np.array([0]))[0], np.asarray(fit(whole, PictureOptions(), (16, 32))).transpose(2, 0, 1)
    )
    again = kept_pixels(dataset, "train", part, 3, captioned=True, say=said.append)
    assert again.path == shards.path
    assert PixelShards.open(shards.path).hash == shards.hash
    other = kept_pixels(dataset, "train", Part((16, 32), rows - {min(rows)}), 3, captioned=True, say=said.append)
    assert other.path != shards.path


@pytest.mark.parametrize(("size", "shape"), [((64, 30), (16, 32)), ((64, 30), (28, 16)), ((31, 77), (30, 20))])
def test_a_cut_is_the_middle_of_what_covers_the_shape(size, shape):
    """A ramp from left to right, or from top to bottom, stays one about its middle."""
    for axis, length in enumerate(reversed(size)):
        line = np.linspace(0, 255, length).astype(np.uint8)
        plain = np.broadcast_to(line[:, None] if axis == 0 else line, size[::-1])
        found = np.asarray(fit(Image.fromarray(np.ascontiguousarray(plain)), PictureOptions(filter="box"), shape))
        assert found.shape == shape
        kept = shape[axis] / max(shape[1] / size[0], shape[0] / size[1]) / length
        assert kept <= 1.001
        middle = found.mean(1 - axis)
        assert middle.mean() == pytest.approx(127, abs=2)
        assert middle[-1] - middle[0] == pytest.approx(255 * kept, abs=255 * kept / len(middle) + 4)


def test_what_is_smaller_than_its_shape_is_not_enlarged():
    with pytest.raises(Unusable, match="smaller than 32x16 pixels"):
        fit(noise(0).resize((31, 40)), PictureOptions(), (16, 32))
    padded = fit(noise(0).resize((31, 8)), PictureOptions(fit="pad"), (16, 32))
    assert padded.size == (32, 16)
    assert (np.asarray(padded)[:4] == 255).all()
