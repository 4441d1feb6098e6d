"""The nets of R3GAN: what they begin as, how wide and deep they are, what they refuse."""

import pytest
import torch

from makar.core.config import parse
from makar.core.errors import RecipeError
from makar.nets.gan_config import R3ganConfig
from makar.nets.r3gan import Critic, Downsample, Generator, ResidualBlock, Upsample


def shape(**more) -> R3ganConfig:
    base = {"sample_size": 16, "in_channels": 3, "block_out_channels": (8, 16), "group_width": 8, "latent_size": 6}
    return R3ganConfig(**(base | more))


def test_a_block_begins_as_the_identity_and_its_inside_is_damped_by_depth():
    torch.manual_seed(0)
    block, deeper = ResidualBlock(64, 4, 32, depth=1), ResidualBlock(64, 4, 32, depth=16)
    x = torch.randn(2, 64, 5, 5)
    assert torch.equal(block(x), x)
    ratio = deeper.mix.weight.detach().std() / block.mix.weight.detach().std()
    assert float(ratio) == pytest.approx(0.5, rel=0.02)  # 16 ** -0.25
    assert block.mix.groups == 8


def test_variance_is_kept_from_end_to_end():
    torch.manual_seed(0)
    generator = Generator(shape(block_out_channels=(64, 64, 64), group_width=16))
    made = generator(torch.randn(256, 6)).detach()
    assert 0.4 < float(made.std()) < 1.6
    assert made.shape == (256, 3, 16, 16)


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("classes", [0, 5])
def test_pictures_and_scores_have_the_shapes_that_the_config_says(patch, classes):
    config = shape(patch_size=patch, num_classes=classes, in_channels=1)
    labels = torch.tensor([0, 4]) if classes else None
    made = Generator(config)(torch.randn(2, 6), labels)
    assert made.shape == (2, 1, 16, 16)
    assert Critic(config)(made, labels).shape == (2,)
    assert config.base_size == 16 // (2 * patch)


def test_patches_do_not_show_at_first():
    torch.manual_seed(0)
    made = Generator(shape(patch_size=2))(torch.randn(2, 6))
    assert torch.equal(made[:, :, ::2, ::2], made[:, :, 1::2, 1::2])
    assert not torch.equal(made[:, :, 2::2], made[:, :, :-2:2])


def test_a_class_changes_picture_and_score():
    config = shape(num_classes=2)
    torch.manual_seed(0)
    generator, critic, latent = Generator(config), Critic(config), torch.randn(1, 6)
    one, other = (generator(latent, torch.tensor([label])) for label in (0, 1))
    assert not torch.allclose(one, other)
    assert not torch.allclose(critic(one, torch.tensor([0])), critic(one, torch.tensor([1])))


def test_resampling_keeps_what_is_even_and_is_bilinear():
    flat = torch.full((1, 4, 6, 6), 3.0)
    up, down = Upsample(4, 4), Downsample(4, 4)
    assert torch.allclose(up(flat), torch.full((1, 4, 12, 12), 3.0))
    assert torch.allclose(down(flat), torch.full((1, 4, 3, 3), 3.0))
    ramp = torch.arange(8.0).expand(1, 4, 8, 8).contiguous()
    assert torch.allclose(down(ramp)[0, 0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))
    assert torch.allclose(up(ramp)[0, 0, 0, 1:-1], torch.arange(14) / 2 + 0.25)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sample_size": 18, "block_out_channels": (8, 16, 32)}, "multiple of 4"),
        ({"sample_size": 6, "patch_size": 2, "block_out_channels": (8, 8, 8)}, "multiple of 8"),
        ({"group_width": 5}, "group_width"),
        ({"latent_size": 0}, "latent_size"),
        ({"blocks_out_channels": (8,)}, "block_out_channels"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(wrong, said):
    with pytest.raises(RecipeError, match=said):
        parse(R3ganConfig, {"sample_size": 16} | wrong, "recipe")
