"""The nets of R3GAN: residual grouped convolutions without normalisation. Paper: arXiv 2501.05441, section 4.

Generator and critic are mirrors: each stage is a row of blocks, and between stages pictures are resampled bilinearly.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.nets.gan_config import GanShape, R3ganConfig
from makar.nets.twice import Convolution

SLOPE = 0.2
"""Of the leaky rectifier below 0."""

GAIN = (2 / (1 + SLOPE**2)) ** 0.5
"""What keeps the variance behind that rectifier."""

Images = Float[Tensor, "rows channels high wide"]

Resampled = Float[Tensor, "rows after tall broad"]
"""Maps of places of another size, or of other channels."""


Scaled = TypeVar("Scaled", Convolution, nn.Linear)


def scaled(layer: Scaled, gain: float = 1.0) -> Scaled:
    """A layer whose output has `gain` times its input's standard deviation, and no bias at first."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, gain / fan_in**0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def alike(layer: Tensor, patch: int) -> None:
    """Give all places of a patch the same weights at first, so that patches do not show. Paper: arXiv 1707.02937.

    Args:
        layer: Weights whose outputs are the places of patches, channel by channel.
        patch: Side of a patch.
    """
    with torch.no_grad():
        layer.copy_(layer[:: patch**2].repeat_interleave(patch**2, 0))


class ResidualBlock(nn.Module):
    """Wider, a 3x3 convolution in groups, narrower again, added to what came in.

    It begins as the identity, its other layers damped by the depth of the net, so that no normalisation is needed.
    Paper: arXiv 1901.09321, section 3.

    Args:
        width: Channels in and out.
        expansion: How many times wider it is inside.
        group_width: Channels of a group.
        depth: Blocks of the net.
    """

    def __init__(self, width: int, expansion: int, group_width: int, depth: int) -> None:
        super().__init__()
        inner, gain = width * expansion, GAIN * depth**-0.25
        self.expand = scaled(Convolution(width, inner, 1), gain)
        self.mix = scaled(Convolution(inner, inner, 3, padding=1, groups=inner // group_width), gain)
        self.contract = scaled(Convolution(inner, width, 1, bias=False), 0.0)

    def forward(self, x: Images) -> Images:
        """The residual step."""
        inside = F.leaky_relu(self.expand(x), SLOPE)
        return x + self.contract(F.leaky_relu(self.mix(inside), SLOPE))


def stage_of(config: GanShape, width: int) -> list[nn.Module]:
    """The residual blocks of a stage."""
    depth = config.layers_per_block * len(config.block_out_channels)
    return [ResidualBlock(width, config.expansion, config.group_width, depth) for _ in range(config.layers_per_block)]


def resized(before: int, after: int) -> nn.Module:
    """From one stage's width to the next one's."""
    return nn.Identity() if before == after else scaled(Convolution(before, after, 1, bias=False))


class Upsample(nn.Module):
    """To the next finer stage: other channels first, where there is less of them, then twice the places."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.project = resized(before, after)

    def forward(self, x: Images) -> Resampled:
        """Twice as high and wide."""
        return F.interpolate(self.project(x), scale_factor=2, mode="bilinear", align_corners=False)


class Downsample(nn.Module):
    """To the next coarser stage: half the places, then other channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.project = resized(before, after)

    def forward(self, x: Images) -> Resampled:
        """Half as high and wide; at exactly half, bilinear resampling is the mean of four."""
        return self.project(F.avg_pool2d(x, 2))


class Generator(nn.Module):
    """From a latent and a class to a picture.

    What a picture is made from is its code: the latent with the class's embedding behind it.
    """

    layers: int = 1
    """Parts of a code that may come from different latents."""

    def __init__(self, config: R3ganConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        self.latent_size = config.latent_size
        self.embedding = nn.Embedding(config.num_classes, config.latent_size) if config.num_classes else None
        self.code_size = config.latent_size * (2 if config.num_classes else 1)
        self.basis = nn.Parameter(torch.randn(widths[0], config.base_size, config.base_size))
        self.modulate = scaled(nn.Linear(self.code_size, widths[0], bias=False))
        stages: list[nn.Module] = [*stage_of(config, widths[0])]
        for before, after in zip(widths, widths[1:], strict=False):
            stages += [Upsample(before, after), *stage_of(config, after)]
        self.stages = nn.Sequential(*stages)
        self.to_image = scaled(Convolution(widths[-1], config.patch_channels, 1, bias=False))
        alike(self.to_image.weight, config.patch_size)
        self.unpatch = nn.PixelShuffle(config.patch_size)

    def code(
        self, latent: Float[Tensor, "rows latent"], labels: Int[Tensor, " rows"] | None
    ) -> Float[Tensor, "rows 1 size"]:
        """What pictures are made from."""
        if self.embedding is not None:
            assert labels is not None, "a net that knows classes is told one"
            latent = torch.cat((latent, self.embedding(labels)), 1)
        return latent[:, None]

    def draw(self, code: Float[Tensor, "rows 1 size"]) -> Images:
        """The pictures of codes."""
        begun = self.modulate(code[:, 0])[:, :, None, None] * self.basis
        return self.unpatch(self.to_image(self.stages(begun.contiguous(memory_format=torch.channels_last))))

    def forward(self, latent: Float[Tensor, "rows latent"], labels: Int[Tensor, " rows"] | None = None) -> Images:
        """Pictures of latents and classes."""
        return self.draw(self.code(latent, labels))


class Critic(nn.Module):
    """How real each picture looks: a number without a scale of its own; of a class, by the class's own direction.

    Paper: arXiv 1802.05637, eq. 3, without its second term.
    """

    def __init__(self, config: GanShape) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.patch = nn.PixelUnshuffle(config.patch_size)
        self.from_image = scaled(Convolution(config.patch_channels, widths[0], 1, bias=False))
        stages: list[nn.Module] = [*stage_of(config, widths[0])]
        for before, after in zip(widths, widths[1:], strict=False):
            stages += [Downsample(before, after), *stage_of(config, after)]
        self.stages = nn.Sequential(*stages)
        self.gather = scaled(Convolution(widths[-1], widths[-1], config.base_size, groups=widths[-1], bias=False))
        self.embedding = nn.Embedding(config.num_classes, config.latent_size) if config.num_classes else None
        self.score = scaled(nn.Linear(widths[-1], config.latent_size if config.num_classes else 1, bias=False))

    def forward(self, images: Images, labels: Int[Tensor, " rows"] | None = None) -> Float[Tensor, " rows"]:
        """The scores of pictures."""
        # Only now: pictures of one channel lie alike in both orders, and what follows would take the slower one.
        x = self.stages(self.from_image(self.patch(images)).contiguous(memory_format=torch.channels_last))
        said = self.score(self.gather(x).flatten(1))
        if self.embedding is None:
            return said[:, 0]
        assert labels is not None, "a net that knows classes is told one"
        return (said * self.embedding(labels)).sum(1) / said.shape[1] ** 0.5
