"""The U-Net of diffusers, to its names and its numbers."""

import pytest
import torch
from diffusers import UNet2DModel
from pydantic import ValidationError

from makar.nets.image_config import UNetConfig
from makar.nets.unet import UNet

SMALL = {"sample_size": 8, "in_channels": 1, "block_out_channels": (8, 16), "norm_num_groups": 4}
PLAIN = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "attention_head_dim": 8}
SHAPES = {
    "plain": PLAIN,
    "attention everywhere": {"attention_head_dim": 4},
    "the time scales": {**PLAIN, "resnet_time_scale_shift": "scale_shift"},
    "classes": {**PLAIN, "num_classes": 4},
    "an old one": {
        **PLAIN, "downsample_padding": 0, "layers_per_block": 1, "freq_shift": 1, "flip_sin_to_cos": False,
        "norm_eps": 1e-3,
    },
    "three stages, other ways up": {
        "block_out_channels": (8, 16, 8), "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D"), "out_channels": 2,
    },
    "no attention": {"down_block_types": ("DownBlock2D", "DownBlock2D"), "add_attention": False},
}  # fmt: skip


@torch.no_grad()
def shaken(net):
    """Every parameter random: a fresh net says nothing, and its norms are plain."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2 + (parameter.dim() == 1))
    return net


def theirs(config):
    fields = config.model_dump(exclude={"kind", "num_classes", "null_class"})
    labels = config.num_classes + config.null_class if config.num_classes else None
    return UNet2DModel(**fields, num_class_embeds=labels).eval()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_numbers_and_names_are_those_of_diffusers(shape):
    config = UNetConfig(**(SMALL | shape))
    ours, other = shaken(UNet(config)), theirs(config)
    other.load_state_dict(ours.state_dict())
    x, time = torch.randn(3, 1, 8, 8), torch.tensor([0.0, 500.0, 3.5])
    labels = torch.tensor([0, 1, 4]) if config.num_classes else None
    with torch.no_grad():
        torch.testing.assert_close(ours(x, time, labels), other(x, time, labels).sample, atol=1e-4, rtol=1e-4)
        ours.load_state_dict(shaken(other).state_dict())
        torch.testing.assert_close(ours(x, time, labels), other(x, time, labels).sample, atol=1e-4, rtol=1e-4)


def test_a_fresh_net_says_nothing():
    net = UNet(UNetConfig(**SMALL))
    assert not net(torch.randn(2, 1, 8, 8), torch.tensor([1.0, 2.0])).any()


def test_what_is_unsaid_follows():
    config = UNetConfig(sample_size=28, block_out_channels=(48, 96))
    assert config.down_block_types == ("DownBlock2D", "AttnDownBlock2D")
    assert config.up_block_types == ("AttnUpBlock2D", "UpBlock2D")
    assert (config.norm_num_groups, config.attention_head_dim, config.out_channels) == (8, 16, 3)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sample_size": 28, "block_out_channels": (8, 8, 8, 8)}, "multiple of 8"),
        ({"block_out_channels": (12,), "norm_num_groups": 8}, "norm_num_groups to a divisor"),
        ({"block_out_channels": (8,), "norm_num_groups": 8}, "forgets what time"),
        ({"block_out_channels": (12,), "norm_num_groups": 4, "attention_head_dim": 8}, "attention_head_dim"),
        ({"block_out_channels": (8, 8), "down_block_types": ("DownBlock2D",)}, "give 2 down_block_types"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        UNetConfig(**fields)
