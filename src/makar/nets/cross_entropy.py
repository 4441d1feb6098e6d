"""Cross-entropy straight from hidden states, in chunks: the logits of a large vocabulary never exist all at once."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 1 << 22
"""Logits held at once: 16 MB in float32."""

IGNORE = -100
"""The target of a place that does not count."""


def summed_nll(
    hidden: Float[Tensor, "places width"], weight: Float[Tensor, "vocab width"], targets: Int[Tensor, " places"]
) -> Float[Tensor, ""]:
    """The negative log-likelihood of all targets together, in nats.

    Forward already forms the gradients, chunk by chunk, so that backward needs no logits: as exact as the plain way,
    and as many products.

    Args:
        hidden: What the decoder ends with.
        weight: The output matrix.
        targets: Token ids, or `IGNORE`.
    """
    if not torch.is_grad_enabled():
        return token_nll(hidden, weight, targets).sum()
    result: Tensor = SummedNLL.apply(hidden, weight, targets)  # pyright: ignore[reportAssignmentType]
    return result


class SummedNLL(torch.autograd.Function):
    """The sum, its gradients formed on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """Per chunk: logits, their log-sum, and softmax minus one-hot times what lies on either side."""
        dtype = compute_dtype(hidden)
        matrix = weight.detach().to(dtype)
        total = hidden.new_zeros((), dtype=torch.float32)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        rows = max(1, CHUNK // len(weight))
        inputs = hidden.detach().to(dtype)
        for h, t, into in zip(inputs.split(rows), targets.split(rows), grad_hidden.split(rows), strict=True):
            counts = (t != IGNORE)[:, None]
            place = t.clamp(min=0)[:, None]
            logits = (h @ matrix.T).float()
            log_sum = logits.logsumexp(-1, keepdim=True)
            total += ((log_sum - logits.gather(1, place)) * counts).sum()
            slope = logits.sub_(log_sum).exp_()
            slope = slope.scatter_add_(1, place, slope.new_full(place.shape, -1.0)).mul_(counts).to(dtype)
            into.copy_(slope @ matrix)
            grad_weight += slope.T @ h
        ctx.save_for_backward(grad_hidden, grad_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """The sum's gradients, scaled."""
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grads[0], grad_weight * grads[0], None


def token_nll(
    hidden: Float[Tensor, "places width"], weight: Float[Tensor, "vocab width"], targets: Int[Tensor, " places"]
) -> Float[Tensor, " places"]:
    """The negative log-likelihood of each target, in nats; 0 at places that do not count.

    Where a gradient is wanted, each chunk's logits are computed again for it.
    """
    rows = max(1, CHUNK // len(weight))
    pairs = zip(hidden.split(rows), targets.split(rows), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([chunk_nll(h, weight, t) for h, t in pairs])
    parts = [checkpoint(chunk_nll, h, weight, t, use_reentrant=False, preserve_rng_state=False) for h, t in pairs]
    return torch.cat(parts)


def chunk_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """One chunk's logits, in float32 from the product on."""
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="none", ignore_index=IGNORE)


def compute_dtype(hidden: Tensor) -> torch.dtype:
    """What autocast would multiply in."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
