"""A U-Net over pictures: residual blocks at falling and rising resolutions, joined across.

Parameter names and results are those of diffusers' `UNet2DModel`. Paper: arXiv 2006.11239, appendix B.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.nets.image_blocks import Map, Middle, Resampler, ResnetBlock, SelfAttention, TimeEmbedding, sinusoids
from makar.nets.image_config import UNetConfig


def resnet(config: UNetConfig, width: int, out: int, time: int) -> ResnetBlock:
    """A residual block that is told the time."""
    scaled = config.resnet_time_scale_shift == "scale_shift"
    groups, eps = config.norm_num_groups, config.norm_eps
    return ResnetBlock(width, out, groups=groups, eps=eps, time=time, scaled=scaled, dropout=config.dropout)


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
        self.resnets = nn.ModuleList(resnet(config, width, out, time) for width in widths)
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


def middle(config: UNetConfig, width: int, time: int) -> Middle:
    """The coarsest stage."""
    # diffusers leaves the norm out where the time scales
    groups = config.norm_num_groups if config.resnet_time_scale_shift == "default" else None
    attention = SelfAttention(width, config.attention_head_dim, groups, config.norm_eps)
    return Middle(attention if config.add_attention else None, [resnet(config, width, width, time) for _ in range(2)])


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
        self.mid_block = middle(config, widths[-1], time)
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
