"""Randomness as a function of (seed, step, global row, part): never of history, never of rank.

Every draw is named. The same name at the same step and row gives the same numbers, whatever the batch it came
in, on whichever process, before or after a resume; a different name gives independent ones. The numbers come from
the counter-based generator Philox4x32-10.

Paper: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from makar.core.keys import key_of, numpy_rng

__all__ = ["Rng", "key_of", "numpy_rng", "philox"]

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counters: tuple[Tensor, Tensor, Tensor, Tensor], key: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10: four 32-bit words (held in int64) for each counter of four 32-bit words.

    Args:
        counters: Four int64 tensors of one shape, values in [0, 2**32).
        key: 64-bit key.
    """
    a, b, c, d = counters
    low, high = key & MASK, key >> 32
    for _ in range(10):
        left, right = a * MULTIPLIERS[0], c * MULTIPLIERS[1]  # 64-bit products; the sign bit is masked off below
        a, b, c, d = (
            ((right >> 32) & MASK) ^ b ^ low,
            right & MASK,
            ((left >> 32) & MASK) ^ d ^ high,
            left & MASK,
        )
        low, high = (low + WEYL[0]) & MASK, (high + WEYL[1]) & MASK
    return a, b, c, d


@dataclass(frozen=True)
class Rng:
    """Named draws for the rows of one batch.

    Args:
        seed: The run's seed.
        step: The optimizer step, or the position in a generated sequence.
        rows: Global row numbers, `[batch]`, int64. A row keeps its numbers wherever the batch is cut.
        scope: A prefix for the names, such as the player on turn.
    """

    seed: int
    step: int
    rows: Int[Tensor, " batch"]
    scope: str = ""

    def at(self, rows: Int[Tensor, " some"]) -> "Rng":
        """The same stream for other global rows."""
        return replace(self, rows=rows)

    def within(self, scope: str) -> "Rng":
        """The same rows, with every name under a prefix."""
        return replace(self, scope=f"{self.scope}/{scope}")

    def bits(self, name: str, *shape: int) -> Int[Tensor, "batch ..."]:
        """Uniform 32-bit words in int64, `[batch, *shape]`."""
        count = math.prod(shape)
        groups = -(-count // 4)
        device = self.rows.device
        index = torch.arange(groups, device=device).expand(len(self.rows), groups)
        row = self.rows[:, None].expand_as(index)
        step = torch.full_like(index, self.step & MASK)
        words = philox((index & MASK, row & MASK, (row >> 32) & MASK, step), key_of(self.seed, self.scope, name))
        return torch.stack(words, -1).flatten(1)[:, :count].reshape(len(self.rows), *shape)

    def uniform(self, name: str, *shape: int) -> Float[Tensor, "batch ..."]:
        """Uniform on (0, 1), `[batch, *shape]`, float32; never exactly 0 or 1."""
        middle = (self.bits(name, *shape) >> 8).float() + 0.5  # of 2**24 cells; the last one's rounds up to 2**24
        return middle.clamp(max=2.0**24 - 1) * 2.0**-24

    def normal(self, name: str, *shape: int) -> Float[Tensor, "batch ..."]:
        """Standard normal, `[batch, *shape]`, float32 (Box-Muller over pairs of words)."""
        count = math.prod(shape)
        pairs = -(-count // 2)
        u = self.uniform(name, pairs, 2).double()
        radius, angle = (-2 * u[..., 0].log()).sqrt(), 2 * math.pi * u[..., 1]
        both = torch.stack((radius * angle.cos(), radius * angle.sin()), -1)
        return both.flatten(1)[:, :count].float().reshape(len(self.rows), *shape)

    def integers(self, name: str, high: int, *shape: int) -> Int[Tensor, "batch ..."]:
        """Integers in [0, high), `[batch, *shape]`, int64; the bias is below high / 2**32."""
        return (self.bits(name, *shape) * high) >> 32
