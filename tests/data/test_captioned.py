"""Rows of pictures and captions: what is said belongs to what is seen, whatever the batch."""

import numpy as np
import pytest
import torch

from makar.core.nouns import LatentCodec, Source
from makar.data.captioned import Captioned, Encoded, SceneRows
from makar.data.fetch import fetch
from makar.data.hashed import HashedFile, write_meta
from makar.data.pixels import Pixels, PixelShards
from makar.data.scene_drawing import sprites_of
from makar.data.scenes import Scenes
from tests.emoji import draw_set

ROWS, SIDE = 11, 4


@pytest.fixture
def pixels(tmp_path):
    """Pictures of which each is its own number."""
    plain = np.arange(ROWS, dtype=np.uint8).repeat(3 * SIDE * SIDE)
    with HashedFile(tmp_path / "pixels-00000.bin") as file:
        file.write(plain)
    meta = {"rows": ROWS, "channels": 3, "size": SIDE, "classes": (), "left_out": 0, "shard_rows": ROWS}
    write_meta(tmp_path, {**meta, "files": {"pixels-00000.bin": file.record}})
    return Pixels(PixelShards.open(tmp_path), seed=3)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return Scenes(sprites_of(fetch(str(draw_set(tmp_path_factory.mktemp("emoji"))))), 32, seed=5)


class Halves:
    """A codec whose latents are pictures of half the side, less certain at the right."""

    channels, latent_channels, factor = 3, 3, 2

    def hash(self):
        return "halves"

    def moments(self, images):
        mean = torch.nn.functional.avg_pool2d(images, 2)
        spread = torch.zeros_like(mean)
        spread[..., 8:] = 0.5
        return mean, spread

    def images(self, latents):
        return latents.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def encode(self, items):
        return {"images": torch.stack(items)}

    def decode(self, batch):
        return list(batch["images"])

    def save(self, folder):
        """Nothing."""


def lengths(texts):
    """Tokens that tell captions apart: their letters, cut at eight."""
    return torch.tensor([[*text.encode()[:8]] + [0] * (8 - len(text.encode()[:8])) for text in texts])


def test_a_picture_keeps_its_caption_in_every_epoch(pixels):
    source = Captioned(pixels, torch.arange(ROWS)[:, None] * torch.ones(1, 5, dtype=torch.int64))
    assert isinstance(source, Source)
    assert source.epoch_rows == ROWS
    for step in range(6):
        batch = source.batch(step, 4)
        number = ((batch["images"][:, 0, 0, 0] + 1) * 127.5).round().long()
        assert torch.equal(batch["tokens"], number[:, None].expand(4, 5))
        assert source.origins(step, 4) == number.tolist()


def test_captions_for_other_pictures_are_a_fault_of_makar(pixels):
    with pytest.raises(AssertionError):
        Captioned(pixels, torch.zeros(ROWS - 1, 5, dtype=torch.int64))


def test_scenes_are_rows_that_are_pure_in_their_place(scenes):
    source = SceneRows(scenes, lengths)
    whole, parts = source.batch(1, 6), [source.batch(step, 2) for step in (3, 4, 5)]
    for name in ("images", "tokens"):
        assert torch.equal(whole[name], torch.cat([part[name] for part in parts]))
    pixels, caption, _ = scenes.row(9)
    assert torch.equal(((whole["images"][3] + 1) * 127.5).round().byte(), torch.from_numpy(pixels))
    assert torch.equal(whole["tokens"][3], lengths([caption])[0])
    assert set(SceneRows(scenes, None).batch(0, 2)) == {"images"}


def test_latents_of_scenes_are_drawn_from_their_gaussians(scenes):
    codec = Halves()
    assert isinstance(codec, LatentCodec)
    source = Encoded(SceneRows(scenes, lengths), codec, seed=1)
    batch, plain = source.batch(2, 3), SceneRows(scenes, lengths).batch(2, 3)
    mean, _ = codec.moments(plain["images"])
    gap = batch["images"] - mean
    assert torch.equal(gap[..., :8], torch.zeros_like(gap[..., :8]))
    assert 0.3 < float(gap[..., 8:].std()) < 0.7
    assert torch.equal(batch["tokens"], plain["tokens"])
    assert torch.equal(batch["images"][1], source.batch(7, 1)["images"][0])
    assert not torch.equal(batch["images"], Encoded(SceneRows(scenes, lengths), codec, seed=2).batch(2, 3)["images"])
