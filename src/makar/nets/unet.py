"""A U-Net over pictures: residual blocks at falling and rising resolutions, joined across.

Parameter names and results are those of diffusers' `UNet2DModel`. Paper: arXiv 2006.11239, appendix B.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.nets.image_blocks import SelfAttention, TimeEmbedding, sinusoids
from makar.nets.image_config import UNetConfig

Map = Float[Tensor, "rows _ _ _"]
"""Channels, then places."""


class ResnetBlock(nn.Module):
    """Two convolutions, told the time between them, beside a shortcut."""

    def __init__(self, config: UNetConfig, width: int, out: int, time: int) -> None:
        super().__init__()
        self.scaled = config.resnet_time_scale_shift == "scale_shift"
        self.norm1 = nn.GroupNorm(config.norm_num_groups, width, config.norm_eps)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, 2 * out if self.scaled else out)
        self.norm2 = nn.GroupNorm(config.norm_num_groups, out, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width, out, 1) if width != out else None

    def forward(self, x: Map, time: Float[Tensor, "rows time"]) -> Map:
        """Args: the map, and the time after its activation."""
        told = self.time_emb_proj(time)[..., None, None]
        h = self.conv1(F.silu(self.norm1(x)))
        if self.scaled:
            scale, shift = told.chunk(2, 1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + told)
        h = self.conv2(self.dropout(F.silu(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Resampler(nn.Module):
    """One convolution at half or double the resolution."""

    def __init__(self, width: int, *, up: bool, padding: int = 1) -> None:
        super().__init__()
        self.up, self.padding = up, padding
        self.conv = nn.Conv2d(width, width, 3, stride=1 if up else 2, padding=padding)

    def forward(self, x: Map) -> Map:
        """The map at the other resolution."""
        if self.up:
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv(x if self.padding else F.pad(x, (0, 1, 0, 1)))


class Stage(nn.Module):
    """Residual blocks of one resolution with attention behind each or not, and the way to the next resolution.

    Args:
        config: Of the net.
        widths: Channels that each block takes, those that come across counted in.
        out: Channels that each gives.
        time: Width of the time embedding.
        attends: Whether attention stands behind each.
    """

    def __init__(self, config: UNetConfig, widths: Sequence[int], out: int, time: int, *, attends: bool) -> None:
        super().__init__()
        groups, eps = config.norm_num_groups, config.norm_eps
        self.attentions = (
            nn.ModuleList(SelfAttention(out, config.attention_head_dim, groups, eps) for _ in widths)
            if attends
            else None
        )
        self.resnets = nn.ModuleList(ResnetBlock(config, width, out, time) for width in widths)
        self.downsamplers: nn.ModuleList | None = None
        self.upsamplers: nn.ModuleList | None = None

    def block(self, index: int, x: Map, time: Float[Tensor, "rows time"]) -> Map:
        """One block, and its attention."""
        x = self.resnets[index](x, time)
        if self.attentions is None:
            return x
        attention = self.attentions[index]
        assert isinstance(attention, SelfAttention)
        return attention.over_places(x)

    def down(self, x: Map, time: Float[Tensor, "rows time"]) -> list[Tensor]:
        """Every map on the way down, the last at the next resolution."""
        maps: list[Tensor] = []
        for index in range(len(self.resnets)):
            x = self.block(index, x, time)
            maps.append(x)
        if self.downsamplers is not None:
            maps.append(self.downsamplers[0](x))
        return maps

    def climb(self, x: Map, across: list[Tensor], time: Float[Tensor, "rows time"]) -> Map:
        """The way up; takes from the end of what comes across."""
        for index in range(len(self.resnets)):
            x = self.block(index, torch.cat((x, across.pop()), 1), time)
        return x if self.upsamplers is None else self.upsamplers[0](x)


class Middle(nn.Module):
    """A block, attention, a block."""

    def __init__(self, config: UNetConfig, width: int, time: int) -> None:
        super().__init__()
        # diffusers leaves the norm out where the time scales
        groups = config.norm_num_groups if config.resnet_time_scale_shift == "default" else None
        attention = SelfAttention(width, config.attention_head_dim, groups, config.norm_eps)
        self.attentions = nn.ModuleList([attention] if config.add_attention else [])
        self.resnets = nn.ModuleList(ResnetBlock(config, width, width, time) for _ in range(2))

    def forward(self, x: Map, time: Float[Tensor, "rows time"]) -> Map:
        """The coarsest map, once more."""
        x = self.resnets[0](x, time)
        for attention in self.attentions:
            assert isinstance(attention, SelfAttention)
            x = attention.over_places(x)
        return self.resnets[1](x, time)


class UNet(nn.Module):
    """A net that is told a time, and a label where it knows labels.

    Args:
        config: Its shape.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, time = config.block_out_channels, 4 * config.block_out_channels[0]
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], time)
        labels = config.num_classes + config.null_class
        self.class_embedding = nn.Embedding(labels, time) if config.num_classes else None
        self.down_blocks = nn.ModuleList()
        across = [widths[0]]
        for stage, (kind, out) in enumerate(zip(config.down_block_types, widths, strict=True)):
            taken = [across[-1], *(out for _ in range(config.layers_per_block - 1))]
            block = Stage(config, taken, out, time, attends=kind.startswith("Attn"))
            across += [out] * config.layers_per_block
            if stage < len(widths) - 1:
                block.downsamplers = nn.ModuleList([Resampler(out, up=False, padding=config.downsample_padding)])
                across.append(out)
            self.down_blocks.append(block)
        self.mid_block = Middle(config, widths[-1], time)
        self.up_blocks = nn.ModuleList()
        before = widths[-1]
        for stage, (kind, out) in enumerate(zip(config.up_block_types, reversed(widths), strict=True)):
            taken: list[int] = []
            for _ in range(config.layers_per_block + 1):
                taken.append(before + across.pop())
                before = out
            block = Stage(config, taken, out, time, attends=kind.startswith("Attn"))
            if stage < len(widths) - 1:
                block.upsamplers = nn.ModuleList([Resampler(out, up=True)])
            self.up_blocks.append(block)
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], config.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        self.begin()

    def begin(self) -> None:
        """Every residual branch begins at zero, and so does the whole net. Paper: arXiv 2105.05233, appendix."""
        last = [self.conv_out]
        for module in self.modules():
            if isinstance(module, ResnetBlock):
                last.append(module.conv2)
            elif isinstance(module, SelfAttention):
                last += [layer for layer in module.to_out if isinstance(layer, nn.Linear)]
        for layer in last:
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        x: Float[Tensor, "rows channels high wide"],
        time: Float[Tensor, " rows"],
        labels: Int[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows out high wide"]:
        """A prediction for every place.

        Args:
            x: Pictures.
            time: Of each; 0 to 1,000 where a path has steps.
            labels: Of each, where the net knows labels.
        """
        config = self.config
        waves = sinusoids(
            time, config.block_out_channels[0], shift=config.freq_shift, cosine_first=config.flip_sin_to_cos
        )
        told = self.time_embedding(waves)
        if self.class_embedding is not None:
            told = told + self.class_embedding(labels)
        told = F.silu(told)
        across = [self.conv_in(x)]
        for stage in self.down_blocks:
            assert isinstance(stage, Stage)
            across += stage.down(across[-1], told)
        h = self.mid_block(across[-1], told)
        for stage in self.up_blocks:
            assert isinstance(stage, Stage)
            h = stage.climb(h, across, told)
        return self.conv_out(F.silu(self.conv_norm_out(h)))
