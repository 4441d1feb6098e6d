"""Autoencoders of pictures: a Gaussian for each place of a smaller map, or one of some codes.

Parameter names and results are those of diffusers' `AutoencoderKL` and `VQModel`. Paper: arXiv 2112.10752.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from makar.nets.autoencoder_config import AutoencoderNetConfig, KLBottleneck
from makar.nets.image_blocks import Map, Middle, Resampler, ResnetBlock, SelfAttention
from makar.nets.quantizers import Quantized, quantizer_of

EPS = 1e-6
"""Added to the variance in every normalisation, as diffusers has it here."""

LAYOUT = torch.channels_last
"""Of maps in memory: 1.2 to 1.3 times as fast in float32 as channels first, on a processor with AVX-512."""

Images = Float[Tensor, "rows channels high wide"]
Latents = Float[Tensor, "rows latent lines places"]


@dataclass(frozen=True)
class Posterior:
    """A Gaussian for each place.

    Args:
        mean: Of each number.
        log_variance: Of each number, in -30 to 20.
    """

    mean: Latents
    log_variance: Latents

    def draw(self, noise: Latents) -> Latents:
        """A code, from standard normal noise."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self) -> Float[Tensor, " rows"]:
        """From the standard normal, in nats for each row. Paper: arXiv 1312.6114, appendix B."""
        mean, log_variance = self.mean.float(), self.log_variance.float()
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)


class Stage(nn.Module):
    """Residual blocks of one resolution, and the way to the next.

    Args:
        config: Of the net.
        width: Channels that come in.
        out: Channels of each block.
        layers: Blocks.
        up: Whether the next resolution is the double, and not the half.
        last: Whether there is none.
    """

    def __init__(
        self, config: AutoencoderNetConfig, width: int, out: int, layers: int, *, up: bool, last: bool
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnet(config, out if layer else width, out) for layer in range(layers))
        self.downsamplers = None if up or last else nn.ModuleList([Resampler(out, up=False, padding=0)])
        self.upsamplers = None if not up or last else nn.ModuleList([Resampler(out, up=True)])

    def forward(self, x: Map) -> Map:
        """The map at the next resolution."""
        for layer in (*self.resnets, *(self.downsamplers or ()), *(self.upsamplers or ())):
            x = layer(x)
        return x


def resnet(config: AutoencoderNetConfig, width: int, out: int) -> ResnetBlock:
    """A residual block without time."""
    return ResnetBlock(width, out, groups=config.norm_num_groups, eps=EPS)


def middle(config: AutoencoderNetConfig) -> Middle:
    """The coarsest stage, with one head of attention as wide as the map or none."""
    width, groups = config.block_out_channels[-1], config.norm_num_groups
    attention = SelfAttention(width, width, groups, EPS) if config.mid_block_add_attention else None
    return Middle(attention, [resnet(config, width, width) for _ in range(2)])


class Encoder(nn.Module):
    """Pictures to a smaller map.

    Args:
        config: Of the net.
        out: Channels of the map.
    """

    def __init__(self, config: AutoencoderNetConfig, out: int) -> None:
        super().__init__()
        widths, layers = config.block_out_channels, config.layers_per_block
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        pairs = zip((widths[0], *widths), widths, strict=False)
        last = len(widths) - 1
        self.down_blocks = nn.ModuleList(
            Stage(config, width, wide, layers, up=False, last=stage == last)
            for stage, (width, wide) in enumerate(pairs)
        )
        self.mid_block = middle(config)
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], out, 3, padding=1)

    def forward(self, x: Images) -> Latents:
        """The map before the bottleneck."""
        x = self.conv_in(x.contiguous(memory_format=LAYOUT))
        for stage in (*self.down_blocks, self.mid_block):
            x = stage(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Decoder(nn.Module):
    """A smaller map to pictures.

    Args:
        config: Of the net.
    """

    def __init__(self, config: AutoencoderNetConfig) -> None:
        super().__init__()
        widths, layers = config.block_out_channels[::-1], config.layers_per_block + 1
        self.conv_in = nn.Conv2d(config.bottleneck.latent_channels, widths[0], 3, padding=1)
        self.mid_block = middle(config)
        pairs = zip((widths[0], *widths), widths, strict=False)
        last = len(widths) - 1
        self.up_blocks = nn.ModuleList(
            Stage(config, width, wide, layers, up=True, last=stage == last) for stage, (width, wide) in enumerate(pairs)
        )
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], config.out_channels, 3, padding=1)

    def forward(self, x: Latents) -> Images:
        """Pictures; what lies beyond -1 and 1 is an error of the net's."""
        x = self.conv_in(x.contiguous(memory_format=LAYOUT))
        for stage in (self.mid_block, *self.up_blocks):
            x = stage(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class AutoencoderKL(nn.Module):
    """A Gaussian for each place.

    Args:
        config: Its shape, with a bottleneck of the kind "kl".
    """

    def __init__(self, config: AutoencoderNetConfig) -> None:
        super().__init__()
        self.config, neck = config, config.bottleneck
        assert isinstance(neck, KLBottleneck)
        channels = neck.latent_channels
        self.encoder = Encoder(config, 2 * channels)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, 1) if neck.use_quant_conv else None
        self.post_quant_conv = nn.Conv2d(channels, channels, 1) if neck.use_post_quant_conv else None

    def encode(self, images: Images) -> Posterior:
        """What each place may be."""
        h = self.encoder(images)
        mean, log_variance = (h if self.quant_conv is None else self.quant_conv(h)).chunk(2, 1)
        return Posterior(mean, log_variance.clamp(-30, 20))

    def decode(self, latents: Latents) -> Images:
        """The pictures of codes."""
        return self.decoder(latents if self.post_quant_conv is None else self.post_quant_conv(latents))

    def forward(self, images: Images) -> Images:
        """The pictures, through the means of their codes."""
        return self.decode(self.encode(images).mean)


class VQModel(nn.Module):
    """One of some codes for each place.

    Args:
        config: Its shape, with a bottleneck of the kind "vq", "fsq" or "lfq".
    """

    def __init__(self, config: AutoencoderNetConfig) -> None:
        super().__init__()
        self.config, neck = config, config.bottleneck
        assert not isinstance(neck, KLBottleneck)
        channels = neck.latent_channels
        self.encoder = Encoder(config, channels)
        self.quant_conv = nn.Conv2d(channels, channels, 1)
        self.quantize = quantizer_of(neck)
        self.post_quant_conv = nn.Conv2d(channels, channels, 1)
        self.decoder = Decoder(config)

    def encode(self, images: Images) -> Latents:
        """What is rounded to codes."""
        return self.quant_conv(self.encoder(images))

    def quantized(self, latents: Latents) -> Quantized:
        """The codes of what was encoded."""
        kind = latents.device.type
        if not torch.amp.is_autocast_available(kind):  # where nothing is computed, and only counted
            return self.quantize(latents.float())
        with torch.autocast(kind, enabled=False):  # the nearest in bfloat16 is often another one
            return self.quantize(latents.float())

    def decode(self, values: Latents) -> Images:
        """The pictures of codes' values."""
        return self.decoder(self.post_quant_conv(values))

    def forward(self, images: Images) -> Images:
        """The pictures, through their codes."""
        return self.decode(self.quantized(self.encode(images)).values)


def build_autoencoder(config: AutoencoderNetConfig) -> AutoencoderKL | VQModel:
    """The net that a shape asks for, from torch's global generator."""
    return AutoencoderKL(config) if isinstance(config.bottleneck, KLBottleneck) else VQModel(config)
