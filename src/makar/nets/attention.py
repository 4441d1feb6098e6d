"""Causal attention, three ways of the same sum.

Where the compiler runs on a CPU, queries go in blocks and each block multiplies only the keys it may see; in float32
with nothing but "causal" to mask, and anywhere else, PyTorch's fused kernel is as fast or faster (docs/experiments.md,
"Training speed"). With a cache, few queries look at many keys.

Paper: arXiv 1706.03762, eq. 1; grouped queries: arXiv 2305.13245; sliding windows: arXiv 2310.06825.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Queries = Float[Tensor, "rows heads time head_dim"]
Keys = Float[Tensor, "rows groups time head_dim"]


def attend(
    q: Queries, k: Keys, v: Keys, segments: Int[Tensor, "rows time"] | None = None, window: int | None = None
) -> Queries:
    """Every token looks at itself and at what lies before it, in its own document and no further back than the window.

    Args:
        q: Queries; the heads are a multiple of the groups.
        k: Keys, each for `heads / groups` neighbouring heads.
        v: Values.
        segments: Which document of its row each token belongs to; None for one document a row.
        window: How many tokens each sees, itself included; None for all.
    """
    plain = q.dtype == torch.float32 and segments is None and window is None
    if torch.compiler.is_compiling() and q.device.type == "cpu" and not plain:
        return in_blocks(q, k, v, segments, window)
    return fused(q, k, v, segments, window)


def fused(
    q: Queries, k: Keys, v: Keys, segments: Int[Tensor, "rows time"] | None = None, window: int | None = None
) -> Queries:
    """PyTorch's kernel; a mask is built only where "causal" does not say it all."""
    time = q.shape[2]
    grouped = q.shape[1] != k.shape[1]
    if segments is None and (window is None or window >= time):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    mask = visible(range(time), range(time), segments, window, q.device)
    return F.scaled_dot_product_attention(q, k, v, mask[:, None], enable_gqa=grouped)


def in_blocks(
    q: Queries,
    k: Keys,
    v: Keys,
    segments: Int[Tensor, "rows time"] | None = None,
    window: int | None = None,
    *,
    block: int | None = None,
) -> Queries:
    """Blocks of queries by plain products, past nothing that the mask hides whole; the compiler fuses what is between.

    Args:
        q: As in `attend`.
        k: As in `attend`.
        v: As in `attend`.
        segments: As in `attend`.
        window: As in `attend`.
        block: Queries a block; fewer skip more, more make larger products.
    """
    rows, heads, time, head_dim = q.shape
    groups = k.shape[1]
    block = block or (128 if time < 1024 else 256)
    k, v = (x.repeat_interleave(heads // groups, 1).flatten(0, 1) for x in (k, v))
    q = q.flatten(0, 1) * head_dim**-0.5
    parts: list[Tensor] = []
    for start in range(0, time, block):
        stop = min(start + block, time)
        first = 0 if window is None else max(0, start - window + 1)
        scores = q[:, start:stop] @ k[:, first:stop].mT
        mask = visible(range(start, stop), range(first, stop), segments, window, q.device)
        scores = scores.view(rows, heads, stop - start, -1).masked_fill(~mask[:, None], float("-inf"))
        weights = scores.softmax(-1, dtype=torch.float32).to(v.dtype).flatten(0, 1)
        parts.append(weights @ v[:, first:stop])
    return torch.cat(parts, 1).view(rows, heads, time, head_dim)


def visible(
    queries: range,
    keys: range,
    segments: Int[Tensor, "rows time"] | None,
    window: int | None,
    device: torch.device,
) -> Bool[Tensor, "rows_or_one queries keys"]:
    """Which of some keys each of some queries may see."""
    here = torch.arange(queries.start, queries.stop, device=device)[:, None]
    there = torch.arange(keys.start, keys.stop, device=device)
    mask = there <= here
    if window is not None:
        mask = mask & (there > here - window)
    if segments is None:
        return mask[None]
    return mask & (segments[:, queries.start : queries.stop, None] == segments[:, None, keys.start : keys.stop])


def attend_all(
    q: Float[Tensor, "rows heads queries head_dim"],
    k: Float[Tensor, "rows heads keys head_dim"],
    v: Float[Tensor, "rows heads keys head_dim"],
    bias: Float[Tensor, "1 1 1 keys"] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "rows heads queries head_dim"]:
    """Every token looks at all, or at what is not behind it; the queries may be some of the tokens.

    On a CPU in float32, whatever comes in: for some hundred tokens PyTorch's fused kernel takes two to four times as
    long in bfloat16 (docs/experiments.md, "Text to image").

    Args:
        q: Queries.
        k: Keys, of as many heads.
        v: Values.
        bias: Added to what each token is worth to all.
        causal: Whether what lies behind a token is hidden from it; then without a bias.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, bias, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), bias, is_causal=causal).to(v.dtype)


def attend_cached(
    q: Queries,
    k: Float[Tensor, "rows groups room head_dim"],
    v: Float[Tensor, "rows groups room head_dim"],
    positions: Int[Tensor, "rows time"],
    window: int | None = None,
) -> Queries:
    """New tokens look at a cache that already holds their own keys and values.

    Args:
        q: Queries of the new tokens.
        k: The cache's keys, position by position.
        v: The cache's values.
        positions: Where in the cache each new token lies: it sees what is there and before.
        window: How many tokens each sees, itself included; None for all.
    """
    rows, heads, time, head_dim = q.shape
    groups = k.shape[1]
    there = torch.arange(k.shape[2], device=q.device)
    mask = there <= positions[..., None]
    if window is not None:
        mask = mask & (there > positions[..., None] - window)
    if time == 1:  # the heads of a group stand in for queries, so that no key is copied
        together = q.view(rows, groups, heads // groups, head_dim)
        return F.scaled_dot_product_attention(together, k, v, mask[:, None]).view(q.shape)
    return F.scaled_dot_product_attention(q, k, v, mask[:, None], enable_gqa=heads != groups)
