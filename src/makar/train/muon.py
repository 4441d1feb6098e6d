"""Muon: momentum, made orthogonal, is the step.

Paper: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the scale of the update and the
decay are those of Liu et al. 2025, arXiv:2502.16982, eq. 4.
"""

# torch's _foreach functions have no public names.
# pyright: reportPrivateImportUsage=false

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)  # steep at 0: five iterations take singular values to about 0.7–1.2
ITERATIONS = 5


def orthogonalize(
    matrices: Float[Tensor, "batch rows columns"], dtype: torch.dtype
) -> Float[Tensor, "batch rows columns"]:
    """The nearest (semi-)orthogonal matrix of each, roughly: singular values near 1, directions kept.

    Newton-Schulz iteration with an odd quintic polynomial, for a whole batch at once.

    Args:
        matrices: Any scale.
        dtype: To iterate in; bf16 is exact enough.
    """
    a, b, c = QUINTIC
    x = matrices.to(dtype)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x  # the Gram matrix of the shorter side
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose matrices are made orthogonal before they are applied.

    Matrices of one shape share a batched iteration, which on small nets is what most of the time goes to. As in torch's
    fused optimizers, an attribute `found_inf`, a scalar on the device, calls a step off where it is 1.

    Args:
        params: Matrices only.
        lr: For an update with the root mean square of AdamW's, 0.2.
        weight_decay: Decoupled, times `lr`.
        momentum: Decay of the momentum.
        dtype: Of the Newton-Schulz iteration.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "dtype": dtype})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every matrix that has a gradient."""
        assert closure is None, "one gradient a step"
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in shapes.items():
                self.apply(group, shape, matrices)
        return None

    def apply(self, group: dict[str, Any], shape: torch.Size, matrices: list[Tensor]) -> None:
        """Update the matrices of one shape."""
        gradients = [m.grad for m in matrices if m.grad is not None]
        for matrix in matrices:
            if "momentum" not in self.state[matrix]:
                self.state[matrix]["momentum"] = torch.zeros_like(matrix)
        momenta = [self.state[m]["momentum"] for m in matrices]
        off: Tensor | None = getattr(self, "found_inf", None)
        go = torch.ones((), device=matrices[0].device) if off is None else 1 - off
        torch._foreach_lerp_(momenta, gradients, [go * (1 - group["momentum"])] * len(momenta))
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        updates = orthogonalize(torch.stack(ahead), group["dtype"]).to(matrices[0].dtype).unbind()
        torch._foreach_mul_(matrices, 1 - go * group["lr"] * group["weight_decay"])
        torch._foreach_mul_(updates, go)
        torch._foreach_add_(matrices, updates, alpha=-0.2 * math.sqrt(max(shape)) * group["lr"])
