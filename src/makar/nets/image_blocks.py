"""What the nets for pictures share: embeddings of time and attention of every place to every other.

The parameters bear the names that they have in diffusers.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


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
