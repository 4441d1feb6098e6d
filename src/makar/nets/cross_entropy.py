"""Cross-entropy straight from hidden states, in chunks: the logits of a large vocabulary never exist all at once."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 256
"""Places whose logits exist at once: enough for products at full speed, few enough to stay in the cache."""

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
    if (counts := left_out(targets)) is not None:
        hidden, targets = hidden[counts], targets[counts]
    result: Tensor = SummedNLL.apply(hidden, weight, targets)  # pyright: ignore[reportAssignmentType]
    return result


class SummedNLL(torch.autograd.Function):
    """The sum, its gradients formed on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """Per chunk: log-probabilities, then softmax minus one-hot times what lies on either side of the product."""
        dtype = compute_dtype(hidden)
        matrix, inputs = weight.detach().to(dtype), hidden.detach().to(dtype)
        total = hidden.new_zeros((), dtype=torch.float32)
        grad_hidden = torch.empty_like(hidden)
        learns = ctx.needs_input_grad[1]  # a frozen matrix saves a third of the products
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if learns else None
        for h, t, into in zip(inputs.split(CHUNK), targets.split(CHUNK), grad_hidden.split(CHUNK), strict=True):
            counts, place = (t != IGNORE)[:, None], t.clamp(min=0)[:, None]
            log_probs = (h @ matrix.T).log_softmax(-1, dtype=torch.float32)
            total -= (log_probs.gather(1, place) * counts).sum()
            slope = log_probs.exp_().scatter_add_(1, place, log_probs.new_full(place.shape, -1.0)).to(dtype)
            into.copy_((slope @ matrix) * counts)
            if grad_weight is not None:
                grad_weight += slope.T @ (h * counts)
        ctx.save_for_backward(grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """The sum's gradients, scaled."""
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grads[0], None if grad_weight is None else grad_weight * grads[0], None


def token_nll(
    hidden: Float[Tensor, "places width"], weight: Float[Tensor, "vocab width"], targets: Int[Tensor, " places"]
) -> Float[Tensor, " places"]:
    """The negative log-likelihood of each target, in nats; 0 at places that do not count.

    Where a gradient is wanted, each chunk's logits are computed again for it.
    """
    if (counts := left_out(targets)) is not None:
        values = token_nll(hidden[counts], weight, targets[counts])
        return values.new_zeros(targets.shape).masked_scatter(counts, values)
    pairs = zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([chunk_nll(h, weight, t) for h, t in pairs])
    parts = [checkpoint(chunk_nll, h, weight, t, use_reentrant=False, preserve_rng_state=False) for h, t in pairs]
    return torch.cat(parts)


def left_out(targets: Int[Tensor, " places"]) -> Bool[Tensor, " places"] | None:
    """Which places count, where some do not and leaving them out is cheap; an accelerator would wait to be asked."""
    if targets.device.type != "cpu":
        return None
    counts = targets != IGNORE
    return None if bool(counts.all()) else counts


def chunk_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """One chunk's logits, in float32 from the product on."""
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="none", ignore_index=IGNORE)


def compute_dtype(hidden: Tensor) -> torch.dtype:
    """What autocast would multiply in."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
