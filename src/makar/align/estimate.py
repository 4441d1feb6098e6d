"""The arithmetic of policy gradients: divergences, advantages and the clipped surrogate, as pure functions."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

EPSILON = 1e-4
"""Added to a standard deviation of rewards, as TRL does."""

PerPart = Float[Tensor, "rows parts"]
Counts = Bool[Tensor, "rows parts"]
PerRow = Float[Tensor, " rows"]

KlKind = Literal["k1", "k2", "k3"]
"""The names of `KL`."""

KL: Mapping[str, Callable[[Tensor], Tensor]] = {
    "k1": lambda gain: gain,
    "k2": lambda gain: gain.square() / 2,
    "k3": lambda gain: torch.expm1(-gain) + gain,
}
"""Estimates of the divergence from a reference, from how much likelier than there a sampled part is, in nats.

k1 and k3 have the true mean; k2 and k3 are never negative and vary less. Schulman 2020, "Approximating KL divergence".
"""


def masked_mean(values: PerPart, mask: Counts) -> Float[Tensor, ""]:
    """The mean over the parts that count."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: PerPart, mask: Counts) -> PerPart:
    """Values with mean 0 and variance 1 over the parts that count, 0 elsewhere."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean).square(), mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def group_relative(rewards: PerRow, group: int, *, normalise: bool = True) -> PerRow:
    """Each answer's reward over the mean of its group, in standard deviations of the group where wanted.

    Paper: Shao et al. 2024, arXiv:2402.03300, section 4.1.2; without the deviation: Liu et al. 2025, arXiv:2503.20783.

    Args:
        rewards: Answers to one prompt stand together.
        group: Answers to a prompt.
        normalise: Whether to divide by the standard deviation, which weighs hard and easy prompts up.
    """
    grouped = rewards.view(-1, group)
    centred = over_mean(rewards, group)
    if normalise:
        centred = centred / (grouped.std(1, keepdim=True) + EPSILON)
    return centred.view(-1)


def leave_one_out(rewards: PerRow, group: int) -> PerRow:
    """Each answer's reward over the mean of the others to its prompt.

    Paper: Ahmadian et al. 2024, arXiv:2402.14740, eq. 6.
    """
    return (over_mean(rewards, group) * group / (group - 1)).view(-1)


def over_mean(rewards: PerRow, group: int) -> Float[Tensor, "groups answers"]:
    """Rewards over the mean of their group, exactly 0 where all are equal: a rounded mean would teach its error."""
    grouped = rewards.view(-1, group)
    return (grouped - grouped.mean(1, keepdim=True)) * ~flat_groups(rewards, group)[:, None]


def flat_groups(rewards: PerRow, group: int) -> Bool[Tensor, " groups"]:
    """The groups whose answers all earn the same: nothing is learned from them."""
    grouped = rewards.view(-1, group)
    return (grouped == grouped[:, :1]).all(1)


def gae(
    rewards: PerPart, values: PerPart, mask: Counts, *, discount: float = 1.0, trace: float = 0.95
) -> tuple[PerPart, PerPart]:
    """Generalised advantage estimation, and the returns that the values should have foreseen.

    Paper: Schulman et al. 2016, arXiv:1506.02438, eq. 16.

    Args:
        rewards: After each part.
        values: Foreseen before each part.
        mask: The parts that count; they follow each other, and behind the last there is no value.
        discount: Gamma.
        trace: Lambda.
    """
    rewards, values = rewards * mask, values * mask
    after = torch.cat((values[:, 1:], torch.zeros_like(values[:, :1])), 1)  # masked: 0 behind the last part
    surprise = rewards + discount * after - values
    advantages = torch.zeros_like(rewards)
    last = torch.zeros_like(rewards[:, 0])
    for place in range(rewards.shape[1] - 1, -1, -1):
        last = (surprise[:, place] + discount * trace * last) * mask[:, place]
        advantages[:, place] = last
    return advantages, advantages + values


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float
) -> tuple[Tensor, Bool[Tensor, "..."]]:
    """The clipped loss of a policy, and where clipping stops its gradient.

    Paper: Schulman et al. 2017, arXiv:1707.06347, eq. 7; two borders: Yu et al. 2025 (DAPO), arXiv:2503.14476, eq. 10.

    Args:
        log_ratio: Log-probability now less that when the answer was made.
        advantages: Of the same shape.
        clip_low: How far below 1 the ratio still counts.
        clip_high: How far above.
    """
    ratio = log_ratio.exp()
    loss = -torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
    clipped = ((ratio < 1 - clip_low) & (advantages < 0)) | ((ratio > 1 + clip_high) & (advantages > 0))
    return loss, clipped


def adapted(weight: float, divergence: float, target: float, answers: int, horizon: int = 10_000) -> float:
    """The weight of the divergence for the next rollout: up where it was over its target, down where under.

    Paper: Ziegler et al. 2019, arXiv:1909.08593, section 2.2.

    Args:
        weight: Now.
        divergence: Found, nats an answer.
        target: Wanted, nats an answer.
        answers: That it was found over.
        horizon: Answers over which the weight follows.
    """
    error = min(0.2, max(-0.2, divergence / target - 1))
    return weight * (1 + error * answers / horizon)
