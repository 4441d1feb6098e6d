"""What people like in pictures, learned from their choices: a direction in features, the same whatever was asked."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "rows dims"]

RIDGE = 1.0
"""Of the squared length of the direction, halved: a normal prior of variance 1 over features of variance 1."""

STEPS = 30
"""Of Newton's method, at most: the loss is convex, and a handful suffice."""

FLAT = 1e-6
"""A deviation that nothing is divided by less than."""


@torch.no_grad()
def taste_of(chosen: Features, rejected: Features) -> Callable[[Features], Float[Tensor, " rows"]]:
    """Learn from pairs: the chance that one is chosen is the logistic function of how much more it is liked.

    Few choices move it little: what was never compared is liked as much as anything.

    Paper: Bradley and Terry 1952; as a reward of pictures arXiv 2304.05977, eq. 1.

    Args:
        chosen: Of the pictures that people liked better.
        rejected: Of the other one of each pair.

    Returns:
        From features to how much they are liked, in nats; the mean of the pictures that were learned from is 0.
    """
    every = torch.cat((chosen, rejected)).double()
    middle, spread = every.mean(0), every.std(0, correction=0).clamp(min=FLAT)
    gaps = (chosen.double() - rejected.double()) / spread
    weights = torch.zeros_like(middle)
    ridge = RIDGE * torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
    for _ in range(STEPS):
        wrong = torch.sigmoid(-gaps @ weights)
        slope = RIDGE * weights - gaps.T @ wrong
        step = torch.linalg.solve(gaps.T @ (gaps * (wrong * (1 - wrong))[:, None]) + ridge, slope)
        weights = weights - step
        if float(step.abs().max()) < FLAT:
            break

    def liked(features: Features) -> Float[Tensor, " rows"]:
        return ((features - middle.to(features)) / spread.to(features)) @ weights.to(features)

    return liked
