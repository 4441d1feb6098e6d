"""What a tower says of captions is kept: read once, equal ones once, and gone over again only for another tower."""

import numpy as np
import pytest
import torch

from makar.core.errors import InputError
from makar.data.captioned import Captioned
from makar.data.pixels import Pixels, PixelShards
from makar.data.told import Told, ToldShards, kept_told
from tests.families.diffusion.reading import Tower

TEXTS = ["a cat", "a red dog", "a cat", "space", "a cat"]


def kept(folder, tower, texts=TEXTS, said=None):
    return kept_told(tower, tower.ids(texts), folder / "pixels-train", say=(said if said is not None else []).append)


def test_rows_have_what_the_tower_says_of_their_captions(tmp_path):
    tower, said = Tower(), []
    shards = kept(tmp_path, tower, said=said)
    assert tower.reads == 3
    assert said == ["reading 3 captions"]
    rows = torch.tensor([4, 1, 0])
    tokens, pooled = shards.of(rows.numpy())
    wanted = tower.features(tower.ids([TEXTS[row] for row in rows]))
    assert torch.equal(tokens, wanted[0])
    assert torch.equal(pooled, wanted[1])


def test_captions_are_read_once_for_each_tower(tmp_path):
    tower, other = Tower(), Tower()
    first = kept(tmp_path, tower)
    assert kept(tmp_path, tower).path == first.path
    assert tower.reads == 3
    other.table += 1
    assert kept(tmp_path, other).path != first.path
    assert kept(tmp_path, tower, TEXTS[1:]).path != first.path


def test_damage_is_said(tmp_path):
    path = kept(tmp_path, Tower()).path
    whole = bytearray((path / "tokens.bin").read_bytes())
    whole[7] ^= 1
    (path / "tokens.bin").write_bytes(whole)
    with pytest.raises(InputError, match="caption shard is damaged"):
        ToldShards.open(path)


def five_pictures(folder):
    """Pictures that are their own number."""
    np.arange(5, dtype="u1").repeat(4).tofile(folder / "pixels-00000.bin")
    files = {"pixels-00000.bin": {}}
    return PixelShards(folder, {"rows": 5, "channels": 1, "size": 2, "classes": [], "shard_rows": 5, "files": files})


def test_a_batch_s_captions_are_those_of_its_pictures(tmp_path):
    tower = Tower()
    captioned = Captioned(Pixels(five_pictures(tmp_path), seed=3), tower.ids(TEXTS))
    source = Told(captioned, kept(tmp_path, tower))
    found = source.batch(2, 4)
    assert source.epoch_rows == 5
    numbers = ((found["images"][:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
    wanted = tower.features(tower.ids([TEXTS[number] for number in numbers]))
    assert torch.equal(found["text_tokens"], wanted[0])
    assert torch.equal(found["text_pooled"], wanted[1])
    assert torch.equal(captioned.batch(2, 4)["images"], found["images"])
