"""A generator in the manner of StyleGAN2: a mapping network, and convolutions that a style modulates.

Paper: arXiv 1912.04958. Plain PyTorch: modulation is a product before and after an ordinary convolution.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.nets.gan_config import StyleConfig
from makar.nets.r3gan import GAIN, SLOPE, Images, Resampled, alike, scaled

FLAT = 1e-8
"""Added to what is divided by."""


def normed(x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    """Rows of mean square 1."""
    return x * (x.square().mean(1, keepdim=True) + FLAT).rsqrt()


class Mapping(nn.Module):
    """From a latent and a class to a style."""

    def __init__(self, config: StyleConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.num_classes, config.latent_size) if config.num_classes else None
        sizes = [config.latent_size * (2 if config.num_classes else 1)] + [config.style_size] * config.mapping_layers
        pairs = zip(sizes, sizes[1:], strict=False)
        self.layers = nn.ModuleList([scaled(nn.Linear(before, after), GAIN) for before, after in pairs])

    def forward(
        self, latent: Float[Tensor, "rows latent"], labels: Int[Tensor, " rows"] | None
    ) -> Float[Tensor, "rows style"]:
        """The styles."""
        x = normed(latent)
        if self.embedding is not None:
            assert labels is not None, "a net that knows classes is told one"
            x = torch.cat((x, normed(self.embedding(labels))), 1)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
        return x


class ModulatedConv(nn.Module):
    """A convolution whose input channels each row's style scales, and whose output has unit variance again.

    The weights of a row would be `w * s / |w * s|`; scaling what goes in and what comes out is the same and needs one
    convolution for all rows. Paper: arXiv 1912.04958, eq. 1 and 3.

    Args:
        style: Numbers of a style.
        before: Channels in.
        after: Channels out.
        kernel: Its side.
        demodulate: Whether the output is brought back to unit variance.
    """

    def __init__(self, style: int, before: int, after: int, kernel: int, *, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel) / (before * kernel**2) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(after))
        self.affine = scaled(nn.Linear(style, before, bias=False))  # the scale is 1 and what the style adds
        self.demodulate = demodulate

    def forward(self, x: Images, style: Float[Tensor, "rows style"]) -> Resampled:
        """The convolution of each row by its own weights."""
        scale = 1 + self.affine(style)
        out = F.conv2d(x * scale[:, :, None, None], self.weight, padding=self.weight.shape[2] // 2)
        if self.demodulate:
            norm = scale.square() @ self.weight.square().sum((2, 3)).T + FLAT
            out = out * norm.rsqrt()[:, :, None, None]
        return out + self.bias[:, None, None]


class StyledStage(nn.Module):
    """The styled convolutions of a stage, and what it adds to the picture."""

    def __init__(self, config: StyleConfig, before: int, after: int) -> None:
        super().__init__()
        widths = [before] + [after] * config.layers_per_block
        pairs = zip(widths, widths[1:], strict=False)
        self.convs = nn.ModuleList([ModulatedConv(config.style_size, one, two, 3) for one, two in pairs])
        self.to_image = ModulatedConv(config.style_size, after, config.patch_channels, 1, demodulate=False)
        alike(self.to_image.weight, config.patch_size)

    def forward(
        self, x: Images, styles: Float[Tensor, "rows layers style"]
    ) -> tuple[Resampled, Float[Tensor, "rows shown tall broad"]]:
        """The next map of places, and the stage's part of the picture."""
        for place, conv in enumerate(self.convs):
            x = F.leaky_relu(conv(x, styles[:, place]), SLOPE) * GAIN
        return x, self.to_image(x, styles[:, -1])


class StyleGenerator(nn.Module):
    """From a latent and a class to a picture, by way of a style for each of its convolutions: the picture's code."""

    def __init__(self, config: StyleConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        self.latent_size, self.code_size = config.latent_size, config.style_size
        self.layers = config.layers_per_block * len(widths)
        self.mapping = Mapping(config)
        self.basis = nn.Parameter(torch.randn(widths[0], config.base_size, config.base_size))
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.stages = nn.ModuleList([StyledStage(config, before, after) for before, after in pairs])
        self.unpatch = nn.PixelShuffle(config.patch_size)

    def code(
        self, latent: Float[Tensor, "rows latent"], labels: Int[Tensor, " rows"] | None
    ) -> Float[Tensor, "rows layers size"]:
        """What pictures are made from: the same style for every layer."""
        return self.mapping(latent, labels)[:, None].repeat(1, self.layers, 1)

    def draw(self, code: Float[Tensor, "rows layers size"]) -> Images:
        """The pictures of codes."""
        x = self.basis.expand(len(code), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        for stage, styles in zip(self.stages, code.chunk(len(self.stages), 1), strict=True):
            if image is not None:
                x, image = (
                    F.interpolate(each, scale_factor=2, mode="bilinear", align_corners=False) for each in (x, image)
                )
            x, part = stage(x, styles)
            image = part if image is None else image + part
        assert image is not None, "there is at least one stage"
        return self.unpatch(image)

    def forward(self, latent: Float[Tensor, "rows latent"], labels: Int[Tensor, " rows"] | None = None) -> Images:
        """Pictures of latents and classes."""
        return self.draw(self.code(latent, labels))
