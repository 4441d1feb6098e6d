"""Latents: encoded once, as the codec says, and drawn anew at every place of the stream."""

import numpy as np
import pytest
import torch

from makar.core.errors import InputError
from makar.core.nouns import Source
from makar.data.hashed import HashedFile, write_meta
from makar.data.latents import Latents, LatentShards, write_latents
from makar.data.pixels import PixelShards

SIDE = 8


PIXELS = np.random.default_rng(0).integers(0, 256, (70, 1, SIDE, SIDE), dtype=np.uint8)


def pixels(folder, classes=("moon", "sun")):
    """Seventy pictures of noise."""
    folder.mkdir()
    with HashedFile(folder / "pixels-00000.bin") as file, HashedFile(folder / "labels.bin") as labels:
        file.write(PIXELS)
        labels.write(np.arange(70, dtype="<i8") % 2)
    files = {"pixels-00000.bin": file.record, "labels.bin": labels.record}
    meta = {"rows": 70, "channels": 1, "size": SIDE, "classes": classes, "left_out": 0, "shard_rows": 70}
    write_meta(folder, {**meta, "files": files, "split": "train"})
    return PixelShards.open(folder)


def moments(images):
    """Halves a picture; the bottom half of its places are uncertain."""
    mean = torch.nn.functional.avg_pool2d(images, 2).repeat(1, 3, 1, 1)
    spread = torch.zeros_like(mean)
    spread[:, :, SIDE // 4 :] = 0.5
    return mean, spread


@pytest.fixture
def shards(tmp_path):
    return write_latents(pixels(tmp_path / "px"), moments, tmp_path / "z", codec="codec", mirrored=True)


def values(rows):
    return torch.from_numpy(PIXELS[rows]).float() / 127.5 - 1


def test_every_view_of_every_picture_is_encoded(shards):
    assert (shards.rows, shards.shape, shards.classes) == (70, (3, 4, 4), ("moon", "sun"))
    rows = np.array([69, 0, 64, 63])
    for view, images in enumerate((values(rows), values(rows).flip(-1))):
        mean, spread = moments(images)
        assert np.allclose(shards.moments[rows, view, 0], mean)
        assert np.array_equal(shards.moments[rows, view, 1], spread)
    assert shards.meta["codec"] == "codec"
    assert LatentShards.open(shards.path).hash == shards.hash


def test_rows_are_pure_in_the_step_whatever_the_batch(shards):
    source = Latents(shards, seed=3)
    assert isinstance(source, Source)
    whole = source.batch(0, 12)
    for step in range(3):
        part = source.batch(step, 4)
        assert torch.equal(part["images"], whole["images"][4 * step : 4 * step + 4])
        assert torch.equal(part["label"], whole["label"][4 * step : 4 * step + 4])


def test_a_row_is_a_draw_from_its_picture_s_gaussian(shards):
    """Both views in turn; where there is no spread, it is the mean."""
    source = Latents(shards, seed=0)
    first = source.batch(0, 70)["images"]
    views = torch.stack([moments(images)[0] for images in (values(np.arange(70)), values(np.arange(70)).flip(-1))])
    sure = (first[:, None, None, :, :2] - views[None, :, :, :, :2]).abs().flatten(3).amax(3)
    nearest = sure.flatten(1).argmin(1)
    assert torch.all(sure.flatten(1).min(1).values < 1e-6)
    assert sorted((nearest % 70).tolist()) == list(range(70))
    assert 20 < int((nearest >= 70).sum()) < 50
    noise = first[:, :, 2:] - views.flatten(0, 1)[nearest][:, :, 2:]
    assert float(noise.std()) == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(source.batch(1, 70)["images"], first)


def test_a_damaged_file_is_refused(shards):
    file = shards.path / "latents.bin"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"remove .* encoded anew"):
        LatentShards.open(shards.path)


def test_without_classes_there_are_no_labels(tmp_path):
    shards = write_latents(pixels(tmp_path / "px", ()), moments, tmp_path / "z", codec="codec", mirrored=False)
    batch = Latents(shards, seed=0).batch(0, 5)
    assert [*batch] == ["images"]
