"""Rotary positions: queries and keys turn with their place, so that their product knows the distance alone.

Paper: arXiv 2104.09864, eq. 34; the halves layout of Llama in `transformers`.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from makar.nets.config import DecoderConfig, Llama3Scaling

Rotation = tuple[Float[Tensor, "#rows time head_dim"], Float[Tensor, "#rows time head_dim"]]
"""Cosines and signed sines of each position's angles; rows may be 1 for all."""


def frequencies(config: DecoderConfig, device: torch.device) -> Float[Tensor, " half"]:
    """Radians per token of each pair of dimensions, fast to slow, always in float32."""
    exponent = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
    plain = 1.0 / config.rope_theta**exponent
    return plain if config.rope_scaling is None else stretch(plain, config.rope_scaling)


def stretch(plain: Float[Tensor, " half"], scaling: Llama3Scaling) -> Float[Tensor, " half"]:
    """Llama 3.1: divide the slow frequencies by the factor, leave the fast ones, and blend between."""
    turns = scaling.original_max_position_embeddings * plain / (2 * math.pi)  # in the first training's context
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return kept * plain + (1 - kept) * plain / scaling.factor


def rotation(positions: Int[Tensor, "rows time"], config: DecoderConfig) -> Rotation:
    """Cosines and signed sines for positions in tokens."""
    return turned(positions, frequencies(config, positions.device))


def turned(positions: Int[Tensor, "rows time"], frequencies: Float[Tensor, " half"]) -> Rotation:
    """The same where the frequencies are known: a power costs more than all else here.

    The sign of `rotate_half` is folded into the sines here, once a forward pass: see `rotate`.
    """
    angles = positions[..., None].float() * frequencies
    cosines, sines = angles.cos(), angles.sin()
    return torch.cat((cosines, cosines), -1), torch.cat((-sines, sines), -1)


def rotate(x: Float[Tensor, "rows heads time head_dim"], turn: Rotation) -> Float[Tensor, "rows heads time head_dim"]:
    """Turn each pair (i, i + head_dim / 2) of a head by its position's angle."""
    cosines, sines = (part[:, None].to(x.dtype) for part in turn)
    # A roll, not a cat of the halves: compiled for a CPU in bfloat16 the gradient of that is not finite (torch 2.13)
    return x * cosines + x.roll(x.shape[-1] // 2, -1) * sines
