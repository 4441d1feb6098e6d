"""The styled generator: modulation against a plain loop, styles by layer."""

import pytest
import torch
import torch.nn.functional as F

from makar.nets.gan_config import StyleConfig
from makar.nets.style import Mapping, ModulatedConv, StyleGenerator

CONFIG = StyleConfig(
    sample_size=8, in_channels=1, block_out_channels=(8, 8), group_width=8, latent_size=6, style_size=10,
    mapping_layers=2, num_classes=3,
)  # fmt: skip


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_modulation_is_what_a_loop_over_rows_with_their_own_weights_gives(kernel, demodulate):
    torch.manual_seed(0)
    layer = ModulatedConv(10, 5, 7, kernel, demodulate=demodulate)
    x, style = torch.randn(4, 5, 6, 6), torch.randn(4, 10)
    wanted = []
    for row, scale in zip(x, 1 + style @ layer.affine.weight.T, strict=True):
        weight = layer.weight * scale[None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        wanted.append(F.conv2d(row[None], weight, layer.bias, padding=kernel // 2))
    assert torch.allclose(layer(x, style), torch.cat(wanted), atol=1e-5)


def test_every_layer_has_a_style_of_its_own():
    torch.manual_seed(0)
    generator = StyleGenerator(CONFIG)
    assert generator.layers == 4
    code = generator.code(torch.randn(1, 6), torch.tensor([0]))
    assert code.shape == (1, 4, 10)
    assert all(torch.equal(code[:, 0], code[:, layer]) for layer in range(4))
    plain = generator.draw(code)
    assert plain.shape == (1, 1, 8, 8)
    for layer in range(4):
        other = code.clone()
        other[:, layer] += 1
        assert not torch.allclose(generator.draw(other), plain), layer


def test_a_latents_length_says_nothing():
    mapping = Mapping(CONFIG)
    latent, labels = torch.randn(2, 6), torch.tensor([0, 1])
    assert torch.allclose(mapping(latent, labels), mapping(3 * latent, labels), atol=1e-5)


def test_patches_are_put_together():
    config = CONFIG.model_copy(update={"patch_size": 2})
    made = StyleGenerator(config)(torch.randn(2, 6), torch.tensor([0, 2]))
    assert made.shape == (2, 1, 8, 8)
