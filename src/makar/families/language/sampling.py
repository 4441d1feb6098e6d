"""From logits to a token: pure functions over rows, each row with settings of its own.

The meaning of each is that of transformers' logits processors, which the tests hold them to; only that top-p here
keeps all of several equally likely tokens at its border, where there it depends on how they were sorted.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Logits = Float[Tensor, "rows vocab"]
Setting = Float[Tensor, " rows"]
Floor = Float[Tensor, " rows"]

COLDEST = 1e-6
"""The least temperature: at a millionth only the likeliest is left, and far below the quotient overflows."""


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


def top_k_floor(ascending: Logits, k: Int[Tensor, " rows"]) -> Floor:
    """The k-th largest logit of each row; for k = 0 the least of all. Paper: arXiv 1805.04833, section 5.2.

    Args:
        ascending: Each row sorted.
        k: How many are kept, and what equals the last of them.
    """
    vocab = ascending.shape[1]
    return ascending.gather(1, vocab - torch.where(k == 0, vocab, k.clamp(max=vocab))[:, None]).squeeze(1)


def top_p_floor(ascending: Logits, p: Setting) -> Floor:
    """The least logit of the likeliest tokens that together reach probability p. Paper: arXiv 1904.09751, eq. 2.

    Args:
        ascending: Each row sorted; -inf counts for nothing.
        p: The mass to reach; 1 keeps all.
    """
    below = ascending.softmax(-1).cumsum(-1) <= (1 - p).to(ascending.dtype)[:, None]
    least = torch.where(p < 1, below.sum(-1).clamp(max=ascending.shape[1] - 1), 0)
    return ascending.gather(1, least[:, None]).squeeze(1)


def min_p_floor(logits: Logits, p: Setting) -> Floor:
    """The logit that is p times as likely as the likeliest; -inf for p = 0. Paper: arXiv 2407.01082, eq. 2."""
    return logits.amax(-1) + p.log().to(logits.dtype)


def warp(logits: Logits, temperature: Setting, top_k: Int[Tensor, " rows"], top_p: Setting, min_p: Setting) -> Logits:
    """Temperature, top-k, top-p and min-p, in this order; what they leave out becomes -inf.

    Each of the last three keeps the logits from some value up, and with them all that equal this value.
    """
    logits = logits / temperature.to(logits.dtype).clamp(min=COLDEST)[:, None]
    floor = min_p_floor(logits, min_p)
    ranked, nucleus = bool(top_k.any()), bool((top_p < 1).any())
    ascending = sort(logits) if ranked or nucleus else logits
    if ranked:
        least = top_k_floor(ascending, top_k)
        ascending, floor = cut(ascending, least), torch.maximum(floor, least)
    if nucleus:
        floor = torch.maximum(floor, top_p_floor(ascending, top_p))
    return cut(logits, floor)


def cut(logits: Logits, floor: Floor) -> Logits:
    """Make what lies below each row's floor -inf."""
    return logits.masked_fill(logits < floor[:, None], -math.inf)


def sort(logits: Logits) -> Logits:
    """Each row's values in ascending order."""
    if logits.device.type == "cpu":  # many times as fast as PyTorch's, which sorts the places too
        return torch.from_numpy(np.sort(logits.numpy(), -1))
    return logits.sort(-1).values


def likeliest(logits: Logits) -> Int[Tensor, " rows"]:
    """Each row's largest logit; of equals the first, and NaN before all."""
    if logits.device.type == "cpu":  # PyTorch's is not vectorised here: 20 times as slow for 16 rows of 8,192
        return torch.from_numpy(logits.numpy().argmax(-1))
    return logits.argmax(-1)


def draw(logits: Logits, uniform: Setting) -> Int[Tensor, " rows"]:
    """Draw from the softmax by inverting its cumulative distribution, in the order of the token ids.

    One uniform number a row decides: the token is the first whose cumulative probability exceeds it. (Gumbel noise
    would do as well, for a number per token of the vocabulary.) Added up in float64, so that a long tail still counts.

    Args:
        logits: Of the tokens to draw from; -inf is never drawn.
        uniform: In (0, 1).
    """
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    point = uniform.double()[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, point, right=True).squeeze(1)
