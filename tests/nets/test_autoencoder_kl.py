"""The autoencoders of diffusers, to their names and their numbers."""

import diffusers
import pytest
import torch
from pydantic import ValidationError

from makar.nets.autoencoder_config import AutoencoderNetConfig
from makar.nets.autoencoder_kl import AutoencoderKL, VQModel, build_autoencoder
from tests.nets.test_unet import shaken

SMALL = {"sample_size": 8, "in_channels": 3, "block_out_channels": (8, 16), "norm_num_groups": 4}
SHAPES = {
    "attention": {"mid_block_add_attention": True},
    "no attention": {"mid_block_add_attention": False},
    "no convolutions at the bottleneck": {
        "bottleneck": {"kind": "kl", "latent_channels": 3, "use_quant_conv": False, "use_post_quant_conv": False}
    },
    "one stage": {"block_out_channels": (8,), "layers_per_block": 2},
    "three stages, gray": {"block_out_channels": (8, 16, 8), "in_channels": 1, "mid_block_add_attention": True},
}


def types(config):
    stages = len(config.block_out_channels)
    return {"down_block_types": ("DownEncoderBlock2D",) * stages, "up_block_types": ("UpDecoderBlock2D",) * stages}


def shared(config):
    return {**config.model_dump(exclude={"bottleneck"}), **types(config)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@torch.no_grad()
def test_the_gaussian_one_is_that_of_diffusers(shape):
    """Both ways: their weights in ours, ours in theirs; moments and decoded pictures within 1e-5."""
    config = AutoencoderNetConfig.model_validate(SMALL | shape)
    ours = shaken(AutoencoderKL(config))
    other = diffusers.AutoencoderKL(**shared(config), **config.bottleneck.model_dump(exclude={"kind"})).eval()
    other.load_state_dict(ours.state_dict())
    images = torch.rand(2, config.in_channels, 8, 8) * 2 - 1
    latents = torch.randn(2, config.bottleneck.latent_channels, config.latent_size, config.latent_size)
    for _ in range(2):
        mine, theirs = ours.encode(images), other.encode(images).latent_dist
        torch.testing.assert_close(mine.mean, theirs.mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mine.log_variance, theirs.logvar, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mine.divergence(), theirs.kl(), atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(ours.decode(latents), other.decode(latents).sample, atol=1e-5, rtol=1e-5)
        torch.manual_seed(1)
        for parameter in other.parameters():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
        ours.load_state_dict(other.state_dict())


@pytest.mark.parametrize("attention", [False, True])
@torch.no_grad()
def test_the_one_with_a_codebook_is_that_of_diffusers(attention):
    neck = {"kind": "vq", "num_vq_embeddings": 12, "vq_embed_dim": 5}
    config = AutoencoderNetConfig.model_validate(SMALL | {"bottleneck": neck, "mid_block_add_attention": attention})
    ours = shaken(VQModel(config))
    ours.quantize.codebook.normal_()
    other = diffusers.VQModel(**shared(config), num_vq_embeddings=12, vq_embed_dim=5, latent_channels=5).eval()
    memory = ("quantize.count", "quantize.sum")
    other.load_state_dict({name: tensor for name, tensor in ours.state_dict().items() if name not in memory})
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    latents = ours.encode(images)
    torch.testing.assert_close(latents, other.encode(images).latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours(images), other.decode(latents).sample, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_signs_are_a_codebook_that_diffusers_knows():
    """The nearest of all corners of a cube is the one with the signs."""
    config = AutoencoderNetConfig.model_validate(SMALL | {"bottleneck": {"kind": "lfq", "bits": 4}})
    ours = shaken(VQModel(config))
    other = diffusers.VQModel(**shared(config), num_vq_embeddings=16, vq_embed_dim=4, latent_channels=4).eval()
    other.load_state_dict(ours.state_dict() | {"quantize.embedding.weight": ours.quantize.codebook})
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(ours(images), other(images).sample, atol=1e-5, rtol=1e-5)


def test_what_is_unsaid_follows():
    config = AutoencoderNetConfig(sample_size=64)
    assert (config.factor, config.latent_size, config.mid_block_add_attention) == (4, 16, True)
    assert not AutoencoderNetConfig(sample_size=128).mid_block_add_attention
    assert isinstance(build_autoencoder(config), AutoencoderKL)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sample_size": 30}, "multiple of 4"),
        ({"block_out_channels": (12,), "norm_num_groups": 8}, "norm_num_groups to a divisor"),
        ({"bottleneck": {"kind": "fsq", "levels": (1, 5)}}, "greater than or equal to 2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        AutoencoderNetConfig.model_validate(fields)
