"""Held-out checks against reward hacking: a model that is rewarded for a rule may find a way that nobody meant.

Two numbers that no rule rewards are watched beside the rewards, on prompts that are not trained on and always with the
same seeds: how likely the answers are under the model that training began with, and how many of their word pairs are
different. Where one leaves its bounds, the run is stopped, and the best look within bounds is what is kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from makar.align.config import RolloutConfig
from makar.align.reference import Reference, reference_of
from makar.align.rewards import Case, Reward, earn
from makar.align.rollouts import Prompt, case_of, drawn
from makar.align.score import AT_ONCE, in_pieces, totals
from makar.core.files import write_atomic
from makar.core.nouns import Model, Request, Verdict, Watch
from makar.core.random import Rng, key_of
from makar.engine.run import Engine
from makar.measure.text import distinct, plain_words


@dataclass(frozen=True)
class Look:
    """What held-out answers are like.

    Args:
        cases: The answers.
        rewards: Mean of each reward, before weights.
        reward: Mean of the weighted sum.
        perplexity: Of the answers, under the model that training began with; per token.
        stopped: Share of answers that the model ended itself.
        words: Mean words of an answer.
    """

    cases: Sequence[Case]
    rewards: dict[str, float]
    reward: float
    perplexity: float
    stopped: float
    words: float

    def distinct(self, n: int, limit: int | None = None) -> float:
        """The share of different word n-grams among the first so many."""
        return distinct([case.answer for case in self.cases], n, limit)

    @property
    def pairs(self) -> int:
        """Word pairs in all answers."""
        return sum(max(0, len(plain_words(case.answer)) - 1) for case in self.cases)


def look_at(
    model: Model[Any], reference: Reference, prompts: Sequence[Prompt], rewards: Sequence[Reward],
    config: RolloutConfig, *, seed: int,
) -> Look:  # fmt: skip
    """Let a model answer held-out prompts, once each, and measure the answers.

    Args:
        model: Who answers.
        reference: Under whom the answers are to be likely.
        prompts: Held out.
        rewards: What is trained for.
        config: How answers are drawn: as in training.
        seed: The same at every look, so that looks compare.
    """
    settings = drawn(model, config)
    requests = [
        Request(list(prompt.ids), key_of(seed, "held out", k) >> 1, settings) for k, prompt in enumerate(prompts)
    ]
    answers = Engine(model).generate(requests)
    cases = [case_of(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    rows = [torch.tensor(case.ids) for case in cases]
    begins = torch.tensor([len(prompt.ids) for prompt in prompts])
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    places = torch.arange(tokens.shape[1])[None]
    mask = (places >= begins[:, None]) & (places < torch.tensor([len(row) for row in rows])[:, None])
    batch = {"tokens": tokens.to(model.device), "loss_mask": mask.to(model.device)}
    rng = Rng(seed, 0, torch.arange(len(rows), device=model.device), "held out")
    with reference_of(model, reference) as frozen:
        nats, parts = in_pieces(lambda some, noise: totals(frozen, some, noise), batch, rng, AT_ONCE)
    earned = {name: sum(values) / len(values) for name, values in earn(rewards, cases).items()}
    return Look(
        cases=cases,
        rewards=earned,
        reward=sum(reward.weight * earned[reward.name] for reward in rewards),
        perplexity=math.exp(min(700.0, float(-nats.sum() / parts.sum()))),
        stopped=sum(case.reason == "stop" for case in cases) / len(cases),
        words=sum(len(plain_words(case.answer)) for case in cases) / len(cases),
    )


def hacking(
    prompts: Sequence[Prompt], rewards: Sequence[Reward], reference: Reference, config: RolloutConfig, *,
    seed: int, samples: Path | None = None,
) -> Watch:  # fmt: skip
    """A watch that judges by the reward on held-out prompts, and stops a run whose answers degenerate.

    Args:
        prompts: Not trained on.
        rewards: What is trained for.
        reference: The model that training began with: its own answers are what later ones are compared with.
        config: How answers are drawn, and the bounds.
        seed: Of the answers.
        samples: A folder where each look leaves its answers.
    """
    before: list[Look] = []

    def look(step: int, model: Model[Any]) -> Verdict:
        if not before:  # the same in every process, so it needs no place in the checkpoint
            with reference_of(model, reference) as untrained:
                before.append(look_at(untrained, reference, prompts, rewards, config, seed=seed))
        first, now = before[0], look_at(model, reference, prompts, rewards, config, seed=seed)
        limit = max(1, min(first.pairs, now.pairs))  # variety falls as text grows: over equally many pairs only
        variety, was = now.distinct(2, limit), first.distinct(2, limit)
        faults: list[str] = []
        if now.perplexity > first.perplexity * (1 + config.max_perplexity_rise):
            faults.append(f"perplexity under the first model rose from {first.perplexity:.3g} to {now.perplexity:.3g}")
        if variety < was * (1 - config.max_distinct_fall):
            faults.append(f"distinct-2 fell from {was:.3f} to {variety:.3f}")
        if samples is not None:
            samples.mkdir(parents=True, exist_ok=True)
            write_atomic(samples / f"held-out-{step:08d}.txt", "\n---\n".join(map(shown, now.cases)) + "\n")
        logs = {
            "reward": now.reward,
            **{f"reward/{name}": value for name, value in now.rewards.items()},
            "reward_before": first.reward,
            "perplexity": now.perplexity,
            "perplexity_before": first.perplexity,
            "distinct_1": now.distinct(1),
            "distinct_2": variety,
            "distinct_2_before": was,
            "stopped": now.stopped,
            "words": now.words,
        }
        if faults:
            return Verdict(logs, action="stop", note=f"reward {now.reward:.3f}, but {' and '.join(faults)}")
        note = f"reward {now.reward:.3f} ({first.reward:.3f} at first), perplexity {now.perplexity:.3g}"
        return Verdict(logs, score=-now.reward, note=f"{note}, distinct-2 {variety:.3f}")

    return look


def shown(case: Case) -> str:
    """A prompt with its answer, for people."""
    return f"{case.prompt}\n→ {case.answer}"
