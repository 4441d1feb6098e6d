"""Rollouts: the net that trains answers prompts, rules judge the answers, and they become rows to learn from.

A rollout is a function of the weights, the seed and the step that it is made at; what cannot be made again once the
weights have moved on is kept in the checkpoint, so that a killed run goes on to the bit. Prompts are chosen by the step
alone. Processes share the answers out and add them up, so all hold the same rows.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from makar.align.config import NotNegative, Positive, RolloutConfig, Share
from makar.align.estimate import Counts, PerPart, adapted, flat_groups, gae, group_relative, leave_one_out, whiten
from makar.align.reference import Reference, reference_of
from makar.align.rewards import Case, Reward, earn
from makar.align.score import AT_ONCE, LOG, in_pieces, log_prob_of
from makar.core.config import Config, parse
from makar.core.device import Precision
from makar.core.errors import InputError
from makar.core.nouns import Batch, Model, Request
from makar.core.random import Rng, key_of, numpy_rng
from makar.core.say import Say, silent
from makar.engine.run import Answer, Engine, eval_mode
from makar.train.blocks import eager
from makar.train.distributed import World
from makar.train.metrics import append
from makar.train.precision import autocast

GAP = 1e-3
"""Nats by which the log-probability of a token may differ between decoding and training, both in fp32."""


@dataclass(frozen=True)
class Prompt:
    """What is asked.

    Args:
        ids: Token ids, as the model is given them.
        text: The same in words, for rewards and for the log.
        row: Its record, with whatever fields rewards want.
    """

    ids: tuple[int, ...]
    text: str
    row: Mapping[str, Any] = field(default_factory=dict[str, Any])


Estimate = Callable[[PerPart, PerPart | None, Counts, int], tuple[PerPart, PerPart]]
"""From what each part earned, what was foreseen of it, which parts count and the size of a group: advantages, and the
returns that should have been foreseen. The arithmetic is in `estimate.py`."""


def by_group(*, normalise: bool = True) -> Estimate:
    """GRPO's advantages: what the answer earned, within its group."""

    def estimate(earned: PerPart, values: PerPart | None, mask: Counts, group: int) -> tuple[PerPart, PerPart]:  # noqa: ARG001
        found = group_relative(earned.sum(1), group, normalise=normalise)[:, None] * mask
        return found, earned

    return estimate


def by_others() -> Estimate:
    """RLOO's advantages: what the answer earned, over the others of its group."""

    def estimate(earned: PerPart, values: PerPart | None, mask: Counts, group: int) -> tuple[PerPart, PerPart]:  # noqa: ARG001
        return leave_one_out(earned.sum(1), group)[:, None] * mask, earned

    return estimate


def by_values(*, discount: Share = 1.0, trace: Share = 0.95) -> Estimate:
    """PPO's advantages: over what the value head foresaw, whitened over the rollout."""

    def estimate(earned: PerPart, values: PerPart | None, mask: Counts, group: int) -> tuple[PerPart, PerPart]:  # noqa: ARG001
        assert values is not None, "PPO has a value head"
        advantages, returns = gae(earned, values, mask, discount=discount, trace=trace)
        return whiten(advantages, mask), returns

    return estimate


@dataclass(frozen=True)
class Penalty:
    """The divergence from the reference as a part of the reward.

    Args:
        kl_weight: Of a nat, at the start.
        kl_target: Nats an answer at which the weight stays as it is; None keeps it anyhow.
    """

    kl_weight: NotNegative = 0.05
    kl_target: Positive | None = None


def single() -> Precision:
    """Full precision."""
    return "fp32"


@dataclass
class Rollouts:
    """A source of fresh answers; implements `core.nouns.StatefulSource`.

    Args:
        model: The net that trains.
        prompts: What is asked.
        rewards: What answers earn.
        config: How many answers and how long.
        estimate: How rewards become advantages.
        seed: Of the order of prompts and of every answer.
        end_id: The token that pads rows.
        reference: What the divergence is measured from; False for none.
        penalty: The divergence as part of the reward, if it is.
        values: The value head's foresight, if there is one.
        at_once: Rows of a forward pass: as many as in a micro-batch.
        precision: Of the trainer's forward passes, asked when the first rollout is made.
        world: The processes that train together.
        journal: Where one line a rollout goes: groups without variance, rewards, a sample.
        say: Takes a line where decoding and training disagree on what is likely.
        number: Which rollout is in use; -1 for none yet.
        rows: What it holds, until it is used up.
        kl_weight: Of the divergence in the next rollout, where there is a penalty.
    """

    model: Model[Any]
    prompts: Sequence[Prompt]
    rewards: Sequence[Reward]
    config: RolloutConfig
    estimate: Estimate
    seed: int
    end_id: int = 0
    reference: Reference | Literal[False] = False
    penalty: Penalty | None = None
    values: Callable[[Model[Any], Batch], PerPart] | None = None
    at_once: int = AT_ONCE
    precision: Callable[[], Precision] = single
    world: World = World()
    journal: Path | None = None
    say: Say = silent
    number: int = -1
    rows: Batch = field(default_factory=dict[str, Tensor])
    kl_weight: float | None = None

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InputError("no prompts to answer", fix="give a dataset of prompts")
        self.kl_weight = self.penalty.kl_weight if self.penalty else None
        self.settings = drawn(self.model, self.config)

    def batch(self, step: int, size: int) -> Batch:
        """The rows of a step: of a fresh rollout, or of the one that is still in use.

        Raises:
            InputError: The rows are no whole number of groups.
        """
        if size % self.config.group:
            fix = f"set train.batch_size to a multiple of rollouts.group {self.config.group}"
            raise InputError("a batch is no whole number of groups", where="train.batch_size", value=size, fix=fix)
        number, place = divmod(step, self.config.batches * self.config.epochs)
        if number != self.number:
            self.rows, self.number = self.roll(number, size * self.config.batches), number
        begin = place % self.config.batches * size
        return {name: t[begin : begin + size] for name, t in self.rows.items()}

    def state(self) -> dict[str, Tensor]:
        """The rollout in use, and the weight of the divergence."""
        weight = torch.tensor(self.kl_weight or 0.0, dtype=torch.float64)
        return {"number": torch.tensor(self.number), "kl_weight": weight} | {
            f"rows/{name}": t for name, t in self.rows.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with a checkpoint's rollout."""
        self.number = int(state["number"])
        self.kl_weight = float(state["kl_weight"]) if self.penalty else None
        self.rows = {name.removeprefix("rows/"): t.clone() for name, t in state.items() if name.startswith("rows/")}

    def asked(self, number: int, groups: int) -> list[int]:
        """The prompts of a rollout."""
        return in_turn(len(self.prompts), number, groups, self.seed)

    @torch.no_grad()
    def roll(self, number: int, count: int) -> Batch:
        """Make a rollout of so many answers.

        Raises:
            UserError: A reward failed; names it and the row.
        """
        asked = self.asked(number, count // self.config.group)
        prompts = [self.prompts[k] for k in asked for _ in range(self.config.group)]
        mine = self.world.share(count)
        requests = [
            Request(list(prompts[row].ids), key_of(self.seed, "rollout", number, row) >> 1, self.settings)
            for row in mine
        ]
        start = time.perf_counter()
        with eager():
            answers = Engine(self.model).generate(requests)
        seconds = time.perf_counter() - start
        cases = [case_of(prompts[row], answer) for row, answer in zip(mine, answers, strict=True)]
        earned = earn(self.rewards, cases, mine.start)
        rows = self.written(prompts, answers, earned, mine, count)
        self.world.sum(list(rows.values()))
        batch = self.weighed(rows, number)
        if self.journal is not None and self.world.rank == 0:
            self.note(number, asked, batch, cases, seconds)
        return batch

    def written(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], earned: Mapping[str, list[float]], mine: range,
        count: int,
    ) -> Batch:  # fmt: skip
        """This process's answers as rows among all, zeros where the others' will be."""
        width = max(len(prompt.ids) for prompt in prompts) + self.config.max_tokens
        tokens = torch.zeros(count, width, dtype=torch.int64)
        mask, decoded = torch.zeros(count, width), torch.zeros(count, width)
        for row, answer in zip(mine, answers, strict=True):
            begin, ids = len(prompts[row].ids), answer.info["ids"]
            end = begin + len(ids)
            tokens[row] = self.end_id
            tokens[row, :end] = torch.tensor([*prompts[row].ids, *ids])
            mask[row, begin:end] = 1
            decoded[row, begin:end] = torch.tensor(answer.info["logprobs"])
        columns = {f"{LOG}reward/{name}": column(values, mine, count) for name, values in earned.items()}
        ended = column([float(answer.reason == "stop") for answer in answers], mine, count)
        return {"tokens": tokens, "loss_mask": mask, "decoded": decoded, f"{LOG}ended": ended, **columns}

    def weighed(self, rows: Batch, number: int) -> Batch:
        """Rows of all processes with log-probabilities, rewards and advantages."""
        longest = int(rows["loss_mask"].amax(0).nonzero().max()) + 1
        rows = {name: t[:, :longest] if t.ndim == 2 else t for name, t in rows.items()}  # noqa: PLR2004
        rows["loss_mask"] = rows["loss_mask"].bool()
        mask = rows["loss_mask"][:, 1:]
        old = self.look(self.model, rows, number)
        gap = ((old - rows.pop("decoded")[:, 1:]).abs() * mask).max()
        if gap > GAP and self.precision() == "fp32":
            self.say(f"rollout {number}: training finds a token {gap:.1e} nats off decoding, more than {GAP:g}")
        rules = torch.stack([rows[f"{LOG}reward/{r.name}"] * r.weight for r in self.rewards]).sum(0)
        earned = at_the_end(rules, mask)
        rows |= {"old_log_probs": old, f"{LOG}reward": rules, f"{LOG}decoding_gap": gap.expand(len(mask))}
        if self.reference is not False:
            with reference_of(self.model, self.reference) as frozen:
                rows["reference_log_probs"] = self.look(frozen, rows, number)
            gain = (old - rows["reference_log_probs"]) * mask
            rows[f"{LOG}divergence"] = gain.sum(1)
            if self.kl_weight is not None:
                earned = earned - self.kl_weight * gain
                rows[f"{LOG}kl_weight"] = torch.full_like(rules, self.kl_weight)
                self.adapt(float(gain.sum(1).mean()), len(rules))
        values = None
        if self.values is not None:
            values = self.pieces(self.values, rows, number)
            rows["old_values"] = values * mask
        flat = flat_groups(rules, self.config.group)
        rows[f"{LOG}flat_groups"] = flat.float().repeat_interleave(self.config.group)
        rows["advantages"], returns = self.estimate(earned, values, mask, self.config.group)
        return rows | ({"returns": returns} if values is not None else {})

    def adapt(self, divergence: float, answers: int) -> None:
        """Move the weight of the divergence towards its target, for the rollouts to come."""
        if self.penalty is not None and self.penalty.kl_target is not None and self.kl_weight is not None:
            self.kl_weight = adapted(self.kl_weight, divergence, self.penalty.kl_target, answers)

    def look(self, model: Model[Any], rows: Batch, number: int) -> PerPart:
        """The trainer's own forward: log-probabilities of the answers."""
        score = log_prob_of(model)

        def some(piece: Batch, rng: Rng) -> tuple[Tensor]:
            values, mask = score(model, piece, rng)
            return (values.float() * mask,)

        return self.forward(some, rows, number)

    def pieces(self, look: Callable[[Model[Any], Batch], PerPart], rows: Batch, number: int) -> PerPart:
        """What a function says of the rows, a micro-batch at a time."""
        return self.forward(lambda piece, _: (look(self.model, piece),), rows, number)

    def forward(self, look: Callable[[Batch, Rng], tuple[Tensor]], rows: Batch, number: int) -> PerPart:
        """Run a forward pass over rows as the trainer would but without dropout, and bring what it says to the CPU."""
        device = self.model.device
        own = {name: rows[name].to(device) for name in ("tokens", "loss_mask")}
        rng = Rng(self.seed, number, torch.arange(len(rows["tokens"]), device=device), "rollouts")
        with eval_mode(self.model), autocast(device, self.precision()):
            return in_pieces(look, own, rng, self.at_once)[0].cpu()

    def note(self, number: int, asked: Sequence[int], rows: Batch, cases: Sequence[Case], seconds: float) -> None:
        """One line on a rollout: its groups without variance by their prompts, its rewards, and one answer."""
        assert self.journal is not None
        flat = rows[f"{LOG}flat_groups"][:: self.config.group].bool().tolist()
        best = int(rows[f"{LOG}reward"][: len(cases)].argmax())
        line: dict[str, Any] = {"kind": "rollout", "step": number * self.config.batches * self.config.epochs}
        line |= {name.removeprefix(LOG): fmean(t.tolist()) for name, t in rows.items() if name.startswith(LOG)}
        line["flat_prompts"] = [prompt for prompt, is_flat in zip(asked, flat, strict=True) if is_flat]
        line["generation_seconds"] = seconds
        line["best"] = {"prompt": cases[best].prompt, "answer": cases[best].answer}
        append(self.journal, line)


def in_turn(count: int, number: int, groups: int, seed: int) -> list[int]:
    """The prompts of a rollout: the next ones of the epoch's order, each epoch in another.

    Args:
        count: Of all prompts.
        number: Of the rollout, from 0.
        groups: Prompts in it.
        seed: Of the orders.
    """
    places = [divmod(place, count) for place in range(number * groups, (number + 1) * groups)]
    orders = {epoch: numpy_rng(seed, "prompts", epoch).permutation(count) for epoch, _ in places}
    return [int(orders[epoch][offset]) for epoch, offset in places]


def drawn(model: Model[Any], config: RolloutConfig) -> Config:
    """How answers are drawn: from the model's whole distribution, with their log-probabilities told."""
    given = {"max_tokens": config.max_tokens, "temperature": config.temperature, "top_p": 1.0, "logprobs": 0}
    if "stop" in model.generation:
        given["stop"] = model.generation["stop"]
    return parse(model.family.settings, given, "[rollouts]")


def column(values: Sequence[float], mine: range, count: int) -> Float[Tensor, " rows"]:
    """A column of all rows, filled in this process's."""
    found = torch.zeros(count)
    found[mine.start : mine.stop] = torch.tensor(values)
    return found


def case_of(prompt: Prompt, answer: Answer) -> Case:
    """An answer as the rules see it."""
    ids = (*prompt.ids, *answer.info["ids"])
    return Case(prompt.text, answer.data or "", prompt.row, answer.reason, ids)


def at_the_end(rewards: Float[Tensor, " rows"], mask: Counts) -> PerPart:
    """Rewards of whole answers, earned at their last part."""
    last = mask.shape[1] - 1 - mask.flip(1).long().argmax(1)
    return torch.zeros(mask.shape).scatter_(1, last[:, None], rewards[:, None])
