"""The diffusion transformer of diffusers, to its names and its numbers."""

import pytest
import torch
from diffusers import DiTTransformer2DModel
from pydantic import ValidationError

from makar.nets.dit import DiT
from makar.nets.image_config import DiTConfig
from tests.nets.test_unet import shaken

SMALL = {"sample_size": 8, "in_channels": 1, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8}
SHAPES = {
    "classes": {"num_classes": 4},
    "no classes": {},
    "latents, with variances": {"in_channels": 4, "out_channels": 8, "num_classes": 4},
    "patches of four": {"patch_size": 4, "num_classes": 2},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_numbers_and_names_are_those_of_diffusers(shape):
    config = DiTConfig(**(SMALL | shape))
    fields = config.model_dump(exclude={"kind", "num_classes"})
    ours = shaken(DiT(config))
    other = DiTTransformer2DModel(**fields, num_embeds_ada_norm=config.num_classes).eval()
    other.load_state_dict(ours.state_dict())
    x, time = torch.randn(3, config.in_channels, 8, 8), torch.tensor([0.0, 500.0, 3.5])
    labels = torch.tensor([0, config.num_classes // 2, config.num_classes])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, time, labels), other(x, time, labels).sample, atol=1e-4, rtol=1e-4)
        ours.load_state_dict(shaken(other).state_dict())
        torch.testing.assert_close(ours(x, time, labels), other(x, time, labels).sample, atol=1e-4, rtol=1e-4)


def test_no_label_is_the_last_label():
    net = shaken(DiT(DiTConfig(**SMALL, num_classes=4)))
    x, time = torch.randn(2, 1, 8, 8), torch.tensor([1.0, 2.0])
    assert torch.equal(net(x, time), net(x, time, torch.tensor([4, 4])))


def test_a_fresh_net_says_nothing():
    assert not DiT(DiTConfig(**SMALL))(torch.randn(2, 1, 8, 8), torch.tensor([1.0, 2.0])).any()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="patch_size to a divisor of sample_size 28"):
        DiTConfig(sample_size=28, patch_size=8)
    with pytest.raises(ValidationError, match="multiple of 4"):
        DiTConfig(num_attention_heads=1, attention_head_dim=6)


def test_blocks_are_given_tokens_side_by_side_in_memory():
    """Given a channel's places side by side, blocks compiled for a CPU in bf16 may say NaN."""
    assert DiT(DiTConfig(**SMALL)).pos_embed(torch.randn(2, 1, 8, 8)).is_contiguous()
