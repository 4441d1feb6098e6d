"""Learn from rewards: GRPO, RLOO and PPO over the columns that rollouts give.

A batch holds, beside the family's own columns, `advantages` and `old_log_probs` [rows, parts], `reference_log_probs`
where a reference is watched, `old_values` and `returns` where there is a value head, and `log_*` [rows], which the
objectives pass on into the metrics. Losses are sums over rows: how much a part weighs among its row, or among the
batch, is found in `prepare`, so that micro-batches and processes add up exactly.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from makar.align.config import Fraction, NotNegative
from makar.align.estimate import KL, Counts, KlKind, PerPart, clipped_surrogate
from makar.align.score import log_prob_of, noted
from makar.align.value import log_probs_and_values
from makar.core.errors import RecipeError
from makar.core.nouns import Batch, Loss, Model, Objective
from makar.core.random import Rng

Aggregate = Literal["token", "sequence", "constant"]
"""What a part weighs: one of all parts of the batch; one of its answer's; or the same however long the answers are.

Papers: DAPO, arXiv:2503.14476, eq. 8; GRPO, arXiv:2402.03300, eq. 3; Dr. GRPO, arXiv:2503.20783, section 3.2.
"""


@dataclass(frozen=True)
class PolicyGradient:
    """A clipped policy gradient.

    Args:
        clip_low: How far below 1 a ratio still counts.
        clip_high: How far above; more than `clip_low` lets unlikely parts grow ("clip higher").
        level: Whether a ratio is of a part or of the whole answer.
        aggregate: What a part weighs.
        max_parts: The longest answer, for the aggregate "constant".
        kl: How the divergence from the reference is estimated.
        kl_weight: Of the divergence in the loss; 0 only logs it.
        value_weight: Of the value head's error; None for no value head.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    level: Literal["part", "answer"] = "part"
    aggregate: Aggregate = "sequence"
    max_parts: int = 1
    kl: KlKind = "k3"
    kl_weight: float = 0.0
    value_weight: float | None = None
    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[Any], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """Add what each row's parts weigh, and what a part of the batch weighs for the log."""
        parts = batch["loss_mask"][:, 1:].sum(1).float()
        weights = {
            "token": (len(parts) / parts.sum().clamp(min=1)).expand(len(parts)),
            "sequence": 1 / parts.clamp(min=1),
            "constant": torch.full_like(parts, 1 / self.max_parts),
        }
        return batch | {"part_weight": weights[self.aggregate], "part_share": weights["token"]}

    def __call__(self, model: Model[Any], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """The loss over rows, and all that is watched."""
        now, mask, values = self.look(model, micro, rng)
        old, advantages = micro["old_log_probs"], micro["advantages"]
        log_ratio = now - old
        if self.level == "answer":
            log_ratio = (log_ratio * mask).sum(1, keepdim=True)
            loss, clipped = clipped_surrogate(
                log_ratio, advantages.gather(1, first(mask)), self.clip_low, self.clip_high
            )
            loss, clipped = loss.squeeze(1), clipped.expand_as(mask)
        else:
            each, clipped = clipped_surrogate(log_ratio, advantages, self.clip_low, self.clip_high)
            loss = (each * mask).sum(1) * micro["part_weight"]
        shares = mask * micro["part_share"][:, None]
        logs = {
            "entropy": -(old * shares).sum(),  # of the policy that sampled, from its samples
            "clipped": (clipped * shares).sum(),
            "length": mask.sum(),
            **noted(micro),
        }
        if "reference_log_probs" in micro:
            divergence = KL[self.kl](now - micro["reference_log_probs"])
            logs["kl"] = (divergence.detach() * shares).sum()
            if self.kl_weight:
                loss = loss + self.kl_weight * (divergence * mask).sum(1) * micro["part_weight"]
        if self.value_weight is not None and values is not None:
            error = self.value_error(values, micro)
            logs["value_error"] = (error.detach() * shares).sum()
            loss = loss + self.value_weight * (error * mask).sum(1) * micro["part_weight"]
        return Loss(loss.sum(), loss.new_tensor(float(len(loss))), logs)

    def look(self, model: Model[Any], micro: Batch, rng: Rng) -> tuple[PerPart, Counts, PerPart | None]:
        """Log-probabilities, what counts, and values where there is a value head."""
        if self.value_weight is None:
            return *log_prob_of(model)(model, micro, rng), None
        return log_probs_and_values(model, micro)

    def value_error(self, values: PerPart, micro: Batch) -> PerPart:
        """Half the squared error of the values, held near those that the rollout foresaw.

        Paper: Schulman et al. 2016, arXiv:1506.02438, eq. 30, in the clipped form of its authors' own PPO.
        """
        near = micro["old_values"] + (values - micro["old_values"]).clamp(-self.clip_low, self.clip_high)
        worse = torch.maximum((values - micro["returns"]).square(), (near - micro["returns"]).square())
        return worse / 2


def first(mask: Counts) -> Int[Tensor, "rows 1"]:
    """The place of each row's first part that counts."""
    return mask.long().argmax(1, keepdim=True)


def grpo(
    *,
    clip_low: Fraction = 0.2,
    clip_high: NotNegative = 0.28,
    aggregate: Aggregate = "token",
    max_parts: int = 1,
    kl: KlKind = "k3",
    kl_weight: NotNegative = 0.0,
) -> PolicyGradient:
    """Group relative policy optimisation: advantages within groups of answers, no value head.

    The defaults are DAPO's (arXiv:2503.14476); the first paper's (arXiv:2402.03300) are `clip_high` 0.2, `aggregate`
    "sequence" and `kl_weight` 0.04. See `PolicyGradient` for the arguments.

    Raises:
        RecipeError: k1 is to be minimised. Its gradient on samples of the policy is 0 in the mean, whatever the
            divergence, and noise besides; in the reward, where TRL's RLOO has it, it does its work.
    """
    if kl == "k1" and kl_weight:
        fix = "take 'k3' or 'k2', or objective.name = 'rloo', where k1 is part of the reward"
        raise RecipeError("k1 in a loss holds nothing near the reference", where="objective.options.kl", fix=fix)
    return PolicyGradient(clip_low, clip_high, "part", aggregate, max_parts, kl, kl_weight)


def rloo(*, clip_low: Fraction = 0.2, clip_high: NotNegative = 0.2) -> PolicyGradient:
    """REINFORCE with the other answers to a prompt as baseline; the ratio is the whole answer's.

    Paper: Ahmadian et al. 2024, arXiv:2402.14740. The divergence is part of the reward: see `Penalty`.
    """
    return PolicyGradient(clip_low, clip_high, "answer")


def ppo(*, clip_low: Fraction = 0.2, clip_high: NotNegative = 0.2, value_weight: NotNegative = 0.1) -> PolicyGradient:
    """Proximal policy optimisation with a value head; the divergence is part of the reward: see `Penalty`.

    Paper: Schulman et al. 2017, arXiv:1707.06347, eq. 9.
    """
    return PolicyGradient(clip_low, clip_high, "part", "token", value_weight=value_weight)


POLICIES: Mapping[str, Callable[..., Objective[Any]]] = {"grpo": grpo, "rloo": rloo, "ppo": ppo}
"""The objectives of this file by name."""
