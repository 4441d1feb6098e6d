"""What people hand over by mistake: a clear answer in one line, and nothing is written."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from makar.core.nouns import Model
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.family import FAMILY

NET = {
    "kind": "unet", "sample_size": 8, "in_channels": 3, "block_out_channels": [8], "down_block_types": ["DownBlock2D"],
    "layers_per_block": 1, "add_attention": False,
}  # fmt: skip


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model without classes, and pictures that are not as they should be."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = DiffusionConfig.model_validate({"net": NET})
    (tmp_path / "painter").mkdir()
    FAMILY.folder.save(Model(FAMILY, config, FAMILY.build(config), generation={"steps": 1}), tmp_path / "painter")
    good = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    good.save(tmp_path / "good.png")
    (tmp_path / "truncated.png").write_bytes((tmp_path / "good.png").read_bytes()[:90])
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(body)
    good.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    good.resize((4, 8)).save(tmp_path / "small.png")
    good.convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(tmp_path / "deep.png")
    (tmp_path / "empty.png").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--image", "truncated.png"], "cannot be read as a picture"),
        (["--image", "huge.png"], "pixels"),
        (["--image", "moving.gif"], "animated"),
        (["--image", "empty.png"], "cannot be read as a picture"),
        (["--image", "small.png"], "another size"),
        (["--image", "good.png", "--mask", "small.png"], "the mask has another size"),
        (["--mask", "good.png"], "a mask without its picture"),
        (["cat"], "knows no classes"),
        (["--set", "guidance_scale=3"], "cannot be guided"),
        (["--set", "steps=0"], "steps"),
        (["--set", "sampler=DPMSolverSDEScheduler"], "did you mean"),
        (["--from", "truncated.png"], "does not say how makar made it"),
        (["--from", "good.png"], "does not say how makar made it"),
        (["--from", "none.png"], "cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_has_one_line_and_leaves_nothing(place, call, given, said):
    err = call("generate", "painter", *given, "--out", "out.png", code=2).err
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (place / "out.png").exists()


@pytest.mark.parametrize("name", ["cmyk.jpg", "deep.png"])
def test_what_is_only_unusual_is_taken(place, call, name):
    call("generate", "painter", "--image", name, "--out", "out.png")
    with Image.open(place / "out.png") as picture:
        assert picture.size == (8, 8)


@pytest.mark.parametrize("name", ["truncated.png", "empty.png"])
def test_inspect_says_what_is_wrong_with_a_file(place, call, name):
    assert "damaged" in call("inspect", name, code=2).out


def test_a_model_must_be_named(place, call):
    assert "no model named" in call("generate", "--out", "out.png", code=2).err
