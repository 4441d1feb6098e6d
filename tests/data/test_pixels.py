import numpy as np
import pytest
import torch

from makar.core.errors import InputError
from makar.core.nouns import Source, TracedSource
from makar.core.random import Rng
from makar.data.collect import collect
from makar.data.config import Augment, CollectOptions, PictureOptions
from makar.data.dataset import Dataset
from makar.data.pixels import Pixels, PixelShards, vary, write_pixels
from tests.data.drawn import noise

OPTIONS = CollectOptions(test_fraction=0, valid_fraction=0)
EVERY = Augment(flip=True, crop=0.8, jitter=0.2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Thirty pictures of two classes."""
    root = tmp_path_factory.mktemp("pixels")
    for seed in range(30):
        path = root / "a" / ("moon" if seed % 3 else "sun") / f"{seed:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed, side=24).save(path)
    collect([str(root / "a")], root / "out", OPTIONS)
    return Dataset.open(root / "out")


def known(dataset):
    """Every picture as it was drawn, in the order of the dataset."""
    seeds = [int(picture.id[-6:-4]) for picture in dataset.pictures("train")]
    return np.stack([np.asarray(noise(seed, side=24)).transpose(2, 0, 1) for seed in seeds])


@pytest.mark.parametrize("shard_bytes", [1 << 30, 7 * 3 * 24 * 24])
def test_pixels_are_what_was_drawn_whatever_shard_they_lie_in(dataset, tmp_path, shard_bytes):
    shards = write_pixels(dataset, "train", tmp_path / "px", PictureOptions(), shard_bytes=shard_bytes)
    assert (shards.rows, shards.shape, shards.classes, shards.left_out) == (30, (3, 24, 24), ("moon", "sun"), 0)
    rows = np.array([29, 0, 13, 7, 6])
    assert np.array_equal(shards.take(rows), known(dataset)[rows])
    assert shards.labels.tolist() == [picture.label for picture in dataset.pictures("train")]
    again = write_pixels(dataset, "train", tmp_path / "again", PictureOptions(), shard_bytes=shard_bytes)
    assert again.hash == shards.hash == PixelShards.open(tmp_path / "px").hash


def test_size_and_channels_are_those_asked_for(dataset, tmp_path):
    small = write_pixels(dataset, "train", tmp_path / "px", PictureOptions(size=8), channels=1)
    assert small.shape == (1, 8, 8)
    assert Pixels(small, 0).batch(0, 4)["images"].shape == (4, 1, 8, 8)
    with pytest.raises(
        InputError, match=r"no picture of 48 pixels in 'train' \(got 30\); choose a smaller size, or fit='pad'"
    ):
        write_pixels(dataset, "train", tmp_path / "large", PictureOptions(size=48))
    assert not (tmp_path / "large").exists()
    with pytest.raises(InputError, match=r"in 'valid' \(got 0\); collect with a larger"):
        write_pixels(dataset, "valid", tmp_path / "none", PictureOptions(size=8))


def test_a_damaged_shard_is_refused(dataset, tmp_path):
    write_pixels(dataset, "train", tmp_path / "px", PictureOptions())
    path = tmp_path / "px" / "pixels-00000.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="pixel shard is not .* bytes long"):
        PixelShards.open(tmp_path / "px")
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(InputError, match="SHA-256 differs; remove .* run the same command again"):
        PixelShards.open(tmp_path / "px")


@pytest.fixture(scope="module")
def shards(dataset, tmp_path_factory):
    """The same pictures as shards."""
    return write_pixels(dataset, "train", tmp_path_factory.mktemp("shards") / "px", PictureOptions())


def test_an_epoch_shows_every_picture_once_with_its_label(dataset, shards):
    source = Pixels(shards, seed=3)
    assert isinstance(source, Source)
    assert source.epoch_rows == 30
    batches = [source.batch(step, 6) for step in range(5)]
    images = torch.cat([batch["images"] for batch in batches])
    labels = torch.cat([batch["label"] for batch in batches])
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    wanted = torch.from_numpy(known(dataset)).float() / 127.5 - 1
    found = [int((images - one).abs().flatten(1).amax(1).argmin()) for one in wanted]
    assert sorted(found) == list(range(30))
    assert torch.allclose(images[found], wanted)
    assert labels[found].tolist() == shards.labels.tolist()
    assert isinstance(source, TracedSource)
    assert torch.allclose(batches[2]["images"], wanted[source.origins(2, 6)])
    assert not torch.equal(source.batch(5, 6)["images"], batches[0]["images"]), "the next epoch has another order"


@pytest.mark.parametrize("augment", [Augment(), EVERY])
def test_a_batch_is_a_function_of_its_place_alone(shards, augment):
    whole = Pixels(shards, 1, augment).batch(0, 40)["images"]
    parts = [Pixels(shards, 1, augment).batch(step, 8)["images"] for step in (4, 2, 0, 1, 3)]
    assert torch.equal(whole, torch.cat([parts[2], parts[3], parts[1], parts[4], parts[0]]))
    assert not torch.equal(whole, Pixels(shards, 2, augment).batch(0, 40)["images"])


def rng(rows):
    """Draws for rows."""
    return Rng(0, 0, torch.arange(rows))


def test_half_of_the_rows_are_mirrored():
    images = torch.rand(1000, 1, 2, 2) * 2 - 1
    found = vary(images, Augment(flip=True), rng(1000))
    mirrored = (found == images.flip(-1)).flatten(1).all(1)
    assert torch.equal(found[~mirrored], images[~mirrored])
    assert 430 < int(mirrored.sum()) < 570


def test_a_crop_keeps_the_share_that_it_may():
    ramp = torch.linspace(-1, 1, 64).expand(500, 1, 64, 64).contiguous()
    found = vary(ramp, Augment(crop=0.5), rng(500))
    share = (found[:, 0, 0, -1] - found[:, 0, 0, 0]) / 2
    assert 0.48 < float(share.min()) < 0.55
    assert 0.95 < float(share.max()) <= 1
    assert float(found.min()) < -0.9
    assert float(found.max()) > 0.9
    assert found.abs().max() <= 1


def test_colours_vary_within_their_bounds():
    images = torch.rand(500, 3, 4, 4) * 2 - 1
    found = vary(images, Augment(jitter=0.1), rng(500))
    assert 0.1 < float((found - images).abs().max()) <= 0.2 + 1e-6
    assert found.abs().max() <= 1
    assert torch.equal(vary(images, Augment(), rng(500)), images)
