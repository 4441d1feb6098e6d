"""The transformer of Stable Diffusion 3, to diffusers' names and numbers."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel
from pydantic import ValidationError

from makar.nets.mmdit import MMDiT
from makar.nets.mmdit_config import MMDiTConfig
from tests.nets.test_unet import shaken

SMALL = {
    "sample_size": 8, "in_channels": 2, "num_layers": 3, "num_attention_heads": 2, "attention_head_dim": 8,
    "joint_attention_dim": 12, "pooled_projection_dim": 10,
}  # fmt: skip
SHAPES = {
    "plain, no empty tokens": {"empty_tokens": 0},
    "empty tokens": {"empty_tokens": 5},
    "the pipeline's 256": {},
    "norms of queries and keys": {"qk_norm": "rms_norm", "empty_tokens": 7},
    "dual attention": {"dual_attention_layers": (0, 2), "qk_norm": "rms_norm"},
    "room for larger pictures": {"pos_embed_max_size": 7},
    "patches of four": {"patch_size": 4, "in_channels": 3, "out_channels": 6},
    "one block": {"num_layers": 1},
}


def told(rows, config):
    return torch.randn(rows, 6, config.joint_attention_dim), torch.randn(rows, config.pooled_projection_dim)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@torch.no_grad()
def test_numbers_and_names_are_those_of_diffusers(shape):
    config = MMDiTConfig(**(SMALL | shape))
    ours = shaken(MMDiT(config))
    other = SD3Transformer2DModel(**config.model_dump(exclude={"kind", "empty_tokens"})).eval()
    assert torch.allclose(ours.pos_embed.get_buffer("pos_embed"), other.pos_embed.pos_embed, atol=1e-5)
    other.load_state_dict(ours.state_dict())
    x, time = torch.randn(3, config.in_channels, 8, 8), torch.tensor([0.0, 500.0, 3.5])
    tokens, pooled = told(3, config)
    theirs = other(x, F.pad(tokens, (0, 0, 0, config.empty_tokens)), pooled, time).sample
    torch.testing.assert_close(ours(x, time, tokens, pooled), theirs, atol=1e-4, rtol=1e-4)
    ours.load_state_dict(shaken(other).state_dict())
    theirs = other(x, F.pad(tokens, (0, 0, 0, config.empty_tokens)), pooled, time).sample
    torch.testing.assert_close(ours(x, time, tokens, pooled), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sides", [(6, 14), (16, 4), (10, 12), (2, 16)])
@pytest.mark.parametrize("shape", [{}, {"qk_norm": "rms_norm", "dual_attention_layers": (0,), "empty_tokens": 5}])
@torch.no_grad()
def test_pictures_of_other_sides_lie_in_the_middle_of_the_positions(shape, sides):
    config = MMDiTConfig(**SMALL, pos_embed_max_size=8, **shape)
    ours = shaken(MMDiT(config))
    other = SD3Transformer2DModel(**config.model_dump(exclude={"kind", "empty_tokens"})).eval()
    other.load_state_dict(ours.state_dict())
    tokens, pooled = told(2, config)
    time, x = torch.tensor([1.0, 999.0]), torch.randn(2, 2, *sides)
    theirs = other(x, F.pad(tokens, (0, 0, 0, config.empty_tokens)), pooled, time).sample
    torch.testing.assert_close(ours(x, time, tokens, pooled), theirs, atol=1e-4, rtol=1e-4)


def test_a_side_without_positions_is_a_fault_of_makar():
    config = MMDiTConfig(**SMALL, pos_embed_max_size=8)
    with pytest.raises(AssertionError, match="9x4 tokens"):
        MMDiT(config)(torch.randn(2, 2, 18, 8), torch.tensor([1.0, 999.0]), *told(2, config))


def test_gradients_are_those_of_all_the_empty_tokens():
    """One token that counts as many has the gradient of the many."""
    config = MMDiTConfig(**SMALL, empty_tokens=9)
    ours = shaken(MMDiT(config))
    plain = MMDiT(config.model_copy(update={"empty_tokens": 0}))
    plain.load_state_dict(ours.state_dict())
    tokens, pooled = told(2, config)
    x, time = torch.randn(2, 2, 8, 8), torch.tensor([1.0, 999.0])
    ours(x, time, tokens, pooled).square().sum().backward()
    plain(x, time, F.pad(tokens, (0, 0, 0, 9)), pooled).square().sum().backward()
    for (name, one), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        if one.grad is None or other.grad is None:
            assert one.grad is other.grad, name
            continue
        torch.testing.assert_close(one.grad, other.grad, atol=1e-3, rtol=1e-3, msg=name)


def test_blocks_are_given_tokens_side_by_side_in_memory():
    """Given a channel's places side by side, blocks compiled for a CPU in bf16 said NaN."""
    assert MMDiT(MMDiTConfig(**SMALL)).pos_embed(torch.randn(2, 2, 8, 8)).is_contiguous()


def test_a_fresh_net_says_nothing():
    config = MMDiTConfig(**SMALL)
    assert not MMDiT(config)(torch.randn(2, 2, 8, 8), torch.tensor([1.0, 2.0]), *told(2, config)).any()


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"sample_size": 9}, "patch_size to a divisor of sample_size 9"),
        ({"num_attention_heads": 1, "attention_head_dim": 6}, "multiple of 4"),
        ({"caption_projection_dim": 17}, "leave caption_projection_dim out: it is 16"),
        ({"pos_embed_max_size": 3}, "pos_embed_max_size to 4 or more"),
        ({"dual_attention_layers": (3,)}, "below num_layers"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, said):
    with pytest.raises(ValidationError, match=said):
        MMDiTConfig(**(SMALL | shape))
