"""Learn what people prefer, from pairs or from single judged answers, by any family's log-probabilities.

A batch of pairs holds the family's own columns twice, `chosen_*` and `rejected_*`, of equal shapes: for language
`chosen_tokens` and `chosen_loss_mask` [pairs, length + 1], where the mask marks the answer, and the same of the
rejected; for pictures `chosen_images` [pairs, channels, high, wide] and what the model is told beside them. A batch of
judged answers holds them once, and `label` [rows], 1 for good and 0 for bad.

Losses are sums over pairs (rows), so that micro-batches and processes add up exactly. What a loss must know of the
whole batch, and what a frozen reference says, is found in `prepare`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.align.config import Fraction, NotNegative, Positive
from makar.align.reference import Reference, reference_of
from makar.align.score import AT_ONCE, in_pieces, log_prob_of, noted, totals
from makar.core.nouns import Batch, Loss, Model, Objective
from makar.core.random import Rng

PerPair = Float[Tensor, " pairs"]


@dataclass(frozen=True)
class Sides:
    """What is known of the two answers of each pair.

    Args:
        chosen: Log-probability of the chosen answer, nats.
        rejected: Of the rejected one.
        chosen_parts: How many parts the chosen answer has: tokens for language.
        rejected_parts: How many the rejected one has.
        reference_chosen: Log-probability of the chosen answer under the reference; 0 for losses without one.
        reference_rejected: Of the rejected one.
    """

    chosen: PerPair
    rejected: PerPair
    chosen_parts: PerPair
    rejected_parts: PerPair
    reference_chosen: PerPair
    reference_rejected: PerPair

    @property
    def ratios(self) -> tuple[PerPair, PerPair]:
        """How much likelier than under the reference each side became, nats."""
        return self.chosen - self.reference_chosen, self.rejected - self.reference_rejected


Judged = tuple[PerPair, PerPair, PerPair]
"""The loss of each pair, and the rewards of its chosen and its rejected answer that the loss implies."""


def dpo_loss(sides: Sides, *, beta: float, label_smoothing: float) -> Judged:
    """Direct preference optimisation; smoothed, it holds each label wrong with that probability.

    Paper: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; smoothing: its note on conservative DPO.
    """
    chosen, rejected = (beta * ratio for ratio in sides.ratios)
    margin = chosen - rejected
    loss = -F.logsigmoid(margin) * (1 - label_smoothing) - F.logsigmoid(-margin) * label_smoothing
    return loss, chosen, rejected


def ipo_loss(sides: Sides, *, beta: float) -> Judged:
    """Identity preference optimisation: a margin of one over twice beta, and no more; ratios are means over parts.

    Paper: Azar et al. 2023, arXiv:2310.12036, eq. 17.
    """
    chosen, rejected = sides.ratios
    margin = chosen / sides.chosen_parts.clamp(min=1) - rejected / sides.rejected_parts.clamp(min=1)
    return (margin - 1 / (2 * beta)) ** 2, beta * chosen, beta * rejected


def simpo_loss(sides: Sides, *, beta: float, gamma: float) -> Judged:
    """Simple preference optimisation: mean log-probabilities, a margin, no reference.

    Paper: Meng et al. 2024, arXiv:2405.14734, eq. 6.
    """
    chosen, rejected = beta * sides.chosen / sides.chosen_parts, beta * sides.rejected / sides.rejected_parts
    return -F.logsigmoid(chosen - rejected - gamma), chosen, rejected


@dataclass(frozen=True)
class Pairwise:
    """An objective over pairs.

    Args:
        loss: From both sides of the pairs to their losses and implied rewards.
        reference: What the trained model is compared with; False for a loss that compares with nothing.
        at_once: Rows that the reference reads together.
    """

    loss: Callable[[Sides], Judged]
    reference: Reference | bool
    at_once: int = AT_ONCE
    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[Any], batch: Batch, rng: Rng) -> Batch:
        """Add what the reference thinks of both sides."""
        if isinstance(self.reference, bool):
            return batch
        with reference_of(model, self.reference) as frozen:
            found = [
                in_pieces(lambda rows, noise: totals(frozen, rows, noise), side(batch, name), rng, self.at_once)[0]
                for name in ("chosen", "rejected")
            ]
        return batch | {"reference_chosen": found[0], "reference_rejected": found[1]}

    def __call__(self, model: Model[Any], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """The loss over pairs, and the rewards that it implies."""
        (chosen, rejected), (parts, other) = (t.chunk(2) for t in totals(model, both(micro), twice(rng)))
        none = torch.zeros_like(chosen)
        before = [micro.get(f"reference_{name}", none) for name in ("chosen", "rejected")]
        loss, good, bad = self.loss(Sides(chosen, rejected, parts, other, *before))
        return Loss(loss.sum(), count_of(loss), rewards(good.detach(), bad.detach()) | noted(micro))


@dataclass(frozen=True)
class Orpo:
    """Odds-ratio preference optimisation: likelihood of the chosen text, prompt included, and odds against the other.

    Paper: Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7.

    Args:
        beta: Weight of the odds ratio.
    """

    beta: Positive = 0.1
    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[Any], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """Add how much a token of the likelihood weighs beside a pair: there are as many of each as the batch has."""
        rows = whole(side(batch, "chosen"))
        tokens = rows["loss_mask"][:, 1:].sum()
        return batch | {"token_weight": (len(rows["tokens"]) / tokens).expand(len(rows["tokens"]))}

    def __call__(self, model: Model[Any], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """The loss over pairs, and the rewards that it implies."""
        rows = both(micro)
        values, _ = log_prob_of(model)(model, whole(rows), twice(rng))
        answer = rows["loss_mask"][:, 1:]
        chosen, rejected = ((values * answer).sum(1) / answer.sum(1)).chunk(2)
        odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
        likelihood = -(values.chunk(2)[0].sum(1) * micro["token_weight"])
        loss = likelihood - self.beta * F.logsigmoid(odds)
        logs = rewards(self.beta * chosen.detach(), self.beta * rejected.detach())
        return Loss(loss.sum(), count_of(loss), logs | {"likelihood": likelihood.detach().sum()})


@dataclass(frozen=True)
class Kto:
    """Kahneman-Tversky optimisation: single answers, good or bad, against a shared estimate of the divergence.

    The estimate compares each prompt with the answer to the row before it, over the whole batch.
    Paper: Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8.

    Args:
        reference: What the trained model is compared with.
        beta: How strongly the model is held to the reference.
        desirable_weight: Of good answers.
        undesirable_weight: Of bad ones.
        at_once: Rows that are read together without gradient.
    """

    reference: Reference
    beta: Positive = 0.1
    desirable_weight: NotNegative = 1.0
    undesirable_weight: NotNegative = 1.0
    at_once: int = AT_ONCE
    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[Any], batch: Batch, rng: Rng) -> Batch:
        """Add what the reference thinks, the divergence, and the share of good answers."""
        other = mismatched(batch)

        def look(of: Model[Any], rows: Batch) -> Tensor:
            return in_pieces(lambda some, noise: totals(of, some, noise), rows, rng, self.at_once)[0]

        now = look(model, other)
        with reference_of(model, self.reference) as frozen:
            before, reference = look(frozen, other), look(frozen, batch)
        divergence = (now - before).mean().clamp(min=0)
        share = batch["label"].float().mean()
        return batch | {
            "reference": reference,
            "divergence": divergence.expand(len(reference)),
            "share": share.expand(len(reference)),
        }

    def __call__(self, model: Model[Any], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """The loss over rows; rewards are means over the good and over the bad ones of the whole batch."""
        good, kl = micro["label"].bool(), micro["divergence"]
        ratio = totals(model, micro, rng)[0] - micro["reference"]
        gain = torch.where(good, ratio - kl, kl - ratio)
        weight = torch.where(good, self.desirable_weight, self.undesirable_weight)
        loss = weight * (1 - torch.sigmoid(self.beta * gain))
        reward = self.beta * ratio.detach()
        share = micro["share"]
        logs = {
            "kl": kl.sum(),
            "chosen_reward": (reward * good / share.clamp(min=1e-9)).sum(),
            "rejected_reward": (reward * ~good / (1 - share).clamp(min=1e-9)).sum(),
        }
        return Loss(loss.sum(), count_of(loss), logs)


def dpo(
    reference: Reference, *, beta: Positive = 0.1, label_smoothing: Fraction = 0.0, at_once: int = AT_ONCE
) -> Pairwise:
    """DPO as an objective. See `dpo_loss`.

    Args:
        reference: What the trained model is compared with.
        beta: How strongly the model is held to the reference.
        label_smoothing: The probability that a label is wrong, in [0, 0.5).
        at_once: Rows that the reference reads together.
    """
    return Pairwise(partial(dpo_loss, beta=beta, label_smoothing=label_smoothing), reference, at_once)


def ipo(reference: Reference, *, beta: Positive = 0.1, at_once: int = AT_ONCE) -> Pairwise:
    """IPO as an objective. See `ipo_loss`; the margin aimed at is 1 / (2 beta)."""
    return Pairwise(partial(ipo_loss, beta=beta), reference, at_once)


def simpo(*, beta: Positive = 2.0, gamma: NotNegative = 1.0) -> Pairwise:
    """SimPO as an objective. See `simpo_loss`; gamma is the margin of rewards that is aimed at."""
    return Pairwise(partial(simpo_loss, beta=beta, gamma=gamma), reference=False)


PREFERENCES: Mapping[str, Callable[..., Objective[Any]]] = {
    "dpo": dpo,
    "ipo": ipo,
    "kto": Kto,
    "orpo": Orpo,
    "simpo": simpo,
}
"""The objectives of this file by name; those that take a `reference` compare with one."""


def side(batch: Batch, name: str) -> Batch:
    """The family's own columns of one side of the pairs."""
    return {column.removeprefix(f"{name}_"): t for column, t in batch.items() if column.startswith(f"{name}_")}


def both(batch: Batch) -> Batch:
    """The rows of the chosen answers, then those of the rejected: one forward pass for both."""
    rejected = side(batch, "rejected")
    return {name: torch.cat((t, rejected[name])) for name, t in side(batch, "chosen").items()}


def twice(rng: Rng) -> Rng:
    """The same noise for both sides of a pair."""
    return rng.at(torch.cat((rng.rows, rng.rows)))


def count_of(loss: Tensor) -> Tensor:
    """How many pairs or rows there are, as a tensor."""
    return loss.new_tensor(float(len(loss)))


def rewards(chosen: PerPair, rejected: PerPair) -> dict[str, Tensor]:
    """What the log says of pairs: both rewards, their margin, and the share of pairs that are put in order."""
    return {
        "chosen_reward": chosen.sum(),
        "rejected_reward": rejected.sum(),
        "margin": (chosen - rejected).sum(),
        "accuracy": (chosen > rejected).sum(),
    }


def whole(rows: Batch) -> Batch:
    """The rows with a mask that marks all text up to the answer's end, the prompt as well."""
    return rows | {"loss_mask": rows["loss_mask"].flip(1).long().cumsum(1).flip(1) > 0}


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, without loss at either end; finite where a model is certain. Mächler 2012, eq. 7."""
    x, half = x.clamp(max=-1e-6), -math.log(2)
    # Each side is held to its own half, for a gradient that is not finite would spoil the other's.
    near, far = x.clamp(min=half), x.clamp(max=half)
    return torch.where(x > half, torch.log(-torch.expm1(near)), torch.log1p(-torch.exp(far)))


def mismatched(rows: Batch) -> Batch:
    """Each prompt with the answer of the row before it, the first with that of the last; as wide as the rows."""
    tokens, mask = rows["tokens"], rows["loss_mask"].bool()
    width = tokens.shape[1]
    starts = mask.long().argmax(1, keepdim=True)
    places = torch.arange(width, device=tokens.device)[None]
    moved = starts.roll(1, 0) + places - starts  # where in the row before a place finds its answer
    inside = (places >= starts) & (moved < width)
    moved = moved.clamp(0, width - 1)
    answer = tokens.roll(1, 0).gather(1, moved)
    return {
        "tokens": torch.where(inside, answer, tokens),
        "loss_mask": mask.roll(1, 0).gather(1, moved) & inside,
    }
