"""What the nets for pictures share: residual blocks, attention of every place to every other, embeddings of time.

The parameters bear the names that they have in diffusers.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Map = Float[Tensor, "rows _ _ _"]
"""Channels, then places."""


def sinusoids(
    time: Float[Tensor, " rows"], width: int, *, shift: int = 0, cosine_first: bool = True
) -> Float[Tensor, "rows width"]:
    """Sines and cosines of a time at wavelengths from 2 pi up to 20,000 pi. Paper: arXiv 1706.03762, section 3.5.

    Args:
        time: Any number, whole or not.
        width: Even.
        shift: Taken from the number of frequencies: 1 makes the last wavelength exactly the longest.
        cosine_first: Their order.
    """
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=time.device) / (half - shift)
    angle = time[:, None] * (-math.log(10_000) * exponent).exp()
    pair = (angle.cos(), angle.sin()) if cosine_first else (angle.sin(), angle.cos())
    return torch.cat(pair, 1)


class TimeEmbedding(nn.Module):
    """Two layers over the sinusoids of a time."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows out"]:
        """What the net is told of the time."""
        return self.linear_2(F.silu(self.linear_1(x)))


class SelfAttention(nn.Module):
    """Every token looks at all.

    Args:
        width: Of a token.
        head_dim: Of a head.
        groups: Of a normalisation over tokens and channels before it; None for none.
        eps: Of that.
    """

    def __init__(self, width: int, head_dim: int, groups: int | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.group_norm = None if groups is None else nn.GroupNorm(groups, width, eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])  # a list, because diffusers keeps a dropout behind it

    def forward(self, x: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows tokens width"]:
        """What each token takes from all."""
        q, k, v = (
            layer(x).unflatten(2, (-1, self.head_dim)).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v)
        )
        return self.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def over_places(self, x: Float[Tensor, "rows width high wide"]) -> Float[Tensor, "rows width high wide"]:
        """A map of places plus what each of them takes from all."""
        normed = x if self.group_norm is None else self.group_norm(x)
        taken = self(normed.flatten(2).transpose(1, 2))
        return x + taken.transpose(1, 2).unflatten(2, x.shape[2:])


class ResnetBlock(nn.Module):
    """Two convolutions beside a shortcut, told the time between them where there is one.

    Args:
        width: Channels that it takes.
        out: Channels that it gives.
        groups: Of its normalisations.
        eps: Added to their variance.
        time: Width of the time embedding; None for a net without time.
        scaled: Whether the time scales and shifts, and does not only shift.
        dropout: Before the second convolution.
    """

    def __init__(
        self, width: int, out: int, *, groups: int, eps: float, time: int | None = None, scaled: bool = False,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scaled = scaled
        self.norm1 = nn.GroupNorm(groups, width, eps)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1)
        self.time_emb_proj = None if time is None else nn.Linear(time, 2 * out if scaled else out)
        self.norm2 = nn.GroupNorm(groups, out, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width, out, 1) if width != out else None

    def forward(self, x: Map, time: Float[Tensor, "rows time"] | None = None) -> Map:
        """Args: the map, and the time after its activation."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is None:
            h = self.norm2(h)
        elif self.scaled:
            scale, shift = self.time_emb_proj(time)[..., None, None].chunk(2, 1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + self.time_emb_proj(time)[..., None, None])
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


class Middle(nn.Module):
    """A block, attention or none, a block.

    Args:
        attention: Over all places.
        resnets: Two, of one width.
    """

    def __init__(self, attention: SelfAttention | None, resnets: Sequence[ResnetBlock]) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([] if attention is None else [attention])
        self.resnets = nn.ModuleList(resnets)

    def forward(self, x: Map, time: Float[Tensor, "rows time"] | None = None) -> Map:
        """The coarsest map, once more."""
        x = self.resnets[0](x, time)
        for attention in self.attentions:
            assert isinstance(attention, SelfAttention)
            x = attention.over_places(x)
        return self.resnets[1](x, time)
