"""Folders that diffusers opens, and folders of diffusers that we open."""

import dataclasses
import json

import diffusers
import pytest
import torch

from makar.app import api
from makar.core.errors import ModelError
from makar.data.table import TensorSource
from makar.engine.load import open_model
from makar.families.autoencoder.codec import AutoencoderCodec
from makar.families.autoencoder.family import FAMILY, measured
from tests.contract.support import equal_weights
from tests.families.autoencoder.conftest import NECKS, make

KINDS = {"kl": diffusers.AutoencoderKL, "vq": diffusers.VQModel, "lfq": diffusers.VQModel}
SHAPE = {
    "block_out_channels": (8, 8), "norm_num_groups": 4, "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2, "sample_size": 8,
}  # fmt: skip


def saved(model, folder):
    folder.mkdir()
    FAMILY.folder.save(model, folder)
    return folder


@pytest.mark.parametrize("neck", KINDS)
@torch.no_grad()
def test_diffusers_opens_every_folder_and_gives_the_same_pictures(tmp_path, caplog, neck):
    model = make(neck, scaling_factor=0.7)
    model.net.eval()
    theirs = KINDS[neck].from_pretrained(saved(model, tmp_path / "model"))
    images = torch.rand(2, 1, 8, 8) * 2 - 1
    torch.testing.assert_close(theirs(images).sample, model.net(images), atol=1e-5, rtol=1e-5)
    assert theirs.config.scaling_factor == 0.7
    assert "not expected" not in caplog.text
    assert "not used" not in caplog.text


@pytest.mark.parametrize("critic", [None, {"block_out_channels": (8, 8)}])
@pytest.mark.parametrize("neck", NECKS)
def test_what_was_saved_comes_back(tmp_path, neck, critic):
    model = dataclasses.replace(make(neck, critic=critic, scaling_factor=0.3), generation={"spread": 0.5})
    again = open_model(saved(model, tmp_path / "model"))
    assert again.family is FAMILY
    assert (again.config, again.generation) == (model.config, model.generation)
    assert equal_weights(again, model)


@torch.no_grad()
def test_autoencoders_of_diffusers_open(tmp_path):
    theirs = diffusers.AutoencoderKL(**SHAPE, shift_factor=0.5, use_quant_conv=False, use_post_quant_conv=False).eval()
    theirs.save_pretrained(tmp_path / "kl")
    model = open_model(tmp_path / "kl")
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(model.net(images), theirs(images).sample, atol=1e-5, rtol=1e-5)
    wanted = (theirs.encode(images).latent_dist.mean - 0.5) * 0.18215
    torch.testing.assert_close(AutoencoderCodec(model).moments(images)[0], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(AutoencoderCodec(model).images(wanted), model.net(images), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_codebook_of_diffusers_opens_and_is_believed(tmp_path):
    """It comes without averages: the next step moves it a little, and does not begin anew."""
    theirs = diffusers.VQModel(**SHAPE, num_vq_embeddings=8).eval()
    theirs.save_pretrained(tmp_path / "vq")
    model = open_model(tmp_path / "vq")
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(model.net(images), theirs(images).sample, atol=1e-5, rtol=1e-5)
    assert model.net.quantize.count.tolist() == [1.0] * 8
    assert torch.equal(model.net.quantize.sum, model.net.quantize.codebook)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("act_fn", "mish", "no such 'act_fn'"),
        ("down_block_types", ["AttnDownEncoderBlock2D"] * 2, "no such 'down_block_types'"),
        ("latents_mean", [0.1], "no such 'latents_mean'"),
        ("colour", 1, "does not know"),
        ("_makar", [], "damaged"),
        ("block_out_channels", "wide", "block_out_channels"),
    ],
)
def test_what_our_nets_lack_is_said(tmp_path, field, value, said):
    folder = saved(make(), tmp_path / "model")
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**found, field: value}))
    with pytest.raises(ModelError, match=said):
        open_model(folder)


def test_damage_is_said(tmp_path):
    folder = saved(make("vq"), tmp_path / "model")
    book = folder / "codebook.safetensors"
    book.write_bytes(book.read_bytes()[:-3])
    with pytest.raises(ModelError, match="damaged"):
        open_model(folder)


def test_it_is_inspected_as_a_model(tmp_path):
    found = api.inspect(saved(make(), tmp_path / "model"))
    assert (found.kind, found.intact, found.facts["family"]) == ("model", True, "autoencoder")


@pytest.mark.parametrize("neck", NECKS)
def test_latents_have_variance_1_when_training_ends(neck):
    model = make(neck, scaling_factor=17.0)
    images = torch.rand(64, 1, 8, 8) * 2 - 1
    codec = AutoencoderCodec(measured(model, TensorSource({"images": images}, seed=0)))
    mean, spread = codec.moments(images)
    assert float(mean.var(correction=0) + spread.square().mean()) == pytest.approx(1, abs=1e-3)
