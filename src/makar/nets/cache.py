"""Keys and values of what was already read, so that the next token costs one token."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from makar.nets.config import DecoderConfig


@dataclass(frozen=True)
class Cache:
    """Static buffers of leading dimension the row, so that rows join and leave by plain indexing.

    The decoder writes the keys and values of the tokens it is given at `lengths`, in place, and sees in each row what
    lies before. It does not move `lengths`: only the caller knows how many of a right-padded row's tokens are real.
    What lies beyond a row's length is never seen, and is overwritten as the row grows. It is memory: use
    it under `torch.no_grad()` or `torch.inference_mode()`.

        logits = net(prompts, cache=cache)              # [rows, longest], padded on the right with anything
        cache.lengths += counts                         # [rows]
        logits = net(next_tokens[:, None], cache=cache) # one token a row
        cache.lengths += 1

    Args:
        keys: Already turned by their positions.
        values: As projected.
        lengths: Tokens that each row holds.
    """

    keys: Float[Tensor, "rows layers heads room head_dim"]
    values: Float[Tensor, "rows layers heads room head_dim"]
    lengths: Int[Tensor, " rows"]

    @classmethod
    def empty(
        cls, config: DecoderConfig, rows: int, room: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> "Cache":
        """Room for some tokens in each of some rows, none of them taken.

        Args:
            config: The decoder's.
            rows: Sequences side by side.
            room: The longest sequence that must fit, tokens.
            dtype: What the net computes in.
            device: Where the net is.
        """
        shape = (rows, config.num_hidden_layers, config.num_key_value_heads, room, config.head_dim)
        keys, values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        return cls(keys, values, torch.zeros(rows, dtype=torch.int64, device=device))

    def upto(self, room: int) -> "Cache":
        """The same memory, cut to the first `room` tokens: attention costs what it looks at.

        A caller that rounds `room` up to some multiple keeps the shapes static for many steps.
        """
        return Cache(self.keys[..., :room, :], self.values[..., :room, :], self.lengths)

    def layer(self, index: int) -> "LayerCache":
        """One layer's share."""
        return LayerCache(self.keys[:, index], self.values[:, index])


@dataclass(frozen=True)
class LayerCache:
    """One layer's keys and values: views into a `Cache`."""

    keys: Float[Tensor, "rows heads room head_dim"]
    values: Float[Tensor, "rows heads room head_dim"]

    def write(
        self,
        keys: Float[Tensor, "rows heads time head_dim"],
        values: Float[Tensor, "rows heads time head_dim"],
        positions: Int[Tensor, "rows time"],
    ) -> None:
        """Put new keys and values at their positions, in place."""
        index = positions[:, None, :, None].expand_as(keys)
        self.keys.scatter_(2, index, keys.to(self.keys.dtype))
        self.values.scatter_(2, index, values.to(self.values.dtype))
