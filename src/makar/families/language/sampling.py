"""From logits to a token: pure functions over rows, each row with settings of its own.

The meaning of each, ties included, is that of transformers' logits processors, which the tests hold them to.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Logits = Float[Tensor, "rows vocab"]
Setting = Float[Tensor, " rows"]


def penalize_repeats(logits: Logits, seen: Bool[Tensor, "rows vocab"], penalty: Setting) -> Logits:
    """Make the tokens seen so far less likely: positive logits are divided, negative ones multiplied.

    Paper: arXiv 1909.05858, section 4.1.
    """
    penalty = penalty.to(logits.dtype)[:, None]
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def seen_tokens(
    tokens: Int[Tensor, "rows capacity"], lengths: Int[Tensor, " rows"], vocab: int
) -> Bool[Tensor, "rows vocab"]:
    """Which tokens each row holds in its first `length` places."""
    unused = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
    seen = torch.zeros(len(tokens), vocab + 1, dtype=torch.bool, device=tokens.device)
    return seen.scatter_(1, tokens.masked_fill(unused, vocab), value=True)[:, :vocab]


def keep_top_k(logits: Logits, k: Int[Tensor, " rows"]) -> Logits:
    """Keep the k largest logits, and what equals the last of them; k = 0 keeps all."""
    k = torch.where(k == 0, logits.shape[1], k.clamp(max=logits.shape[1]))
    least = logits.topk(int(k.max())).values.gather(1, k[:, None] - 1)
    return logits.masked_fill(logits < least, -math.inf)


def keep_top_p(logits: Logits, p: Setting) -> Logits:
    """Keep the likeliest tokens that together reach probability p, at least one; p = 1 keeps all.

    Paper: arXiv 1904.09751, eq. 2.
    """
    ascending, order = logits.sort(-1)
    tail = ascending.softmax(-1).cumsum(-1) <= (1 - p).to(logits.dtype)[:, None]
    tail[:, -1] = False
    tail &= (p < 1)[:, None]
    return logits.masked_fill(torch.zeros_like(tail).scatter_(1, order, tail), -math.inf)


def keep_min_p(logits: Logits, p: Setting) -> Logits:
    """Keep the tokens at least p times as likely as the likeliest; p = 0 keeps all.

    Paper: arXiv 2407.01082, eq. 2.
    """
    probabilities = logits.softmax(-1)
    least = p.to(logits.dtype)[:, None] * probabilities.amax(-1, keepdim=True)
    return logits.masked_fill(probabilities < least, -math.inf)


def warp(logits: Logits, temperature: Setting, top_k: Int[Tensor, " rows"], top_p: Setting, min_p: Setting) -> Logits:
    """Temperature, top-k, top-p and min-p, in this order; what no row asks for costs nothing."""
    logits = logits / temperature.to(logits.dtype)[:, None]
    if bool(top_k.any()):
        logits = keep_top_k(logits, top_k)
    if bool((top_p < 1).any()):
        logits = keep_top_p(logits, top_p)
    if bool((min_p > 0).any()):
        logits = keep_min_p(logits, min_p)
    return logits


def draw(logits: Logits, uniform: Setting) -> Int[Tensor, " rows"]:
    """Draw from the softmax by inverting its cumulative distribution, in the order of the token ids.

    One uniform number a row decides: the token is the first whose cumulative probability exceeds it. (Gumbel noise
    would do as well, for a number per token of the vocabulary.) In float64, so that a long tail still adds up.

    Args:
        logits: Of the tokens to draw from; -inf is never drawn.
        uniform: In (0, 1).
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    point = uniform.double()[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, point, right=True).squeeze(1)
