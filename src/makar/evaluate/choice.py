"""Multiple choice by likelihood: which of some endings does a model find likeliest?

A question is a text and its possible continuations, each of which is scored whole after the text. The best one is
found four ways, for long endings are less likely than short ones: by the sum of the log-probabilities, and by that
over the ending's tokens, characters and bytes. By sum and by characters are `acc` and `acc_norm` of EleutherAI's
lm-evaluation-harness, and the tokens of an ending are taken as there: those of the whole text behind those of the text
before it, spaces at whose end belong to the ending.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from makar.evaluate.likelihood import TOKENS, LogProbs

Ids = Callable[[str], list[int]]
"""A text to token ids, with what the tokenizer itself puts before it."""

NORMS = ("sum", "token", "character", "byte")
"""What the log-probabilities of an ending are divided by."""


@dataclass(frozen=True)
class Question:
    """A text and its endings.

    Args:
        text: What stands before each ending; may be empty.
        endings: As they are compared, without the space before them.
        answer: Which one is right; None where none is.
        joint: What stands between text and ending; its tokens count with the ending's, its characters do not.
        group: A kind of questions, to be counted apart.
    """

    text: str
    endings: tuple[str, ...]
    answer: int | None = None
    joint: str = " "
    group: str = ""


@dataclass(frozen=True)
class Scores:
    """How likely a model finds the endings of a question.

    Args:
        nats: Log-probability of each.
        tokens: Of each.
        endings: Themselves.
    """

    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    endings: tuple[str, ...]

    def by(self, norm: str) -> list[float]:
        """Log-probabilities over a size of the endings: one of `NORMS`."""
        sizes = {
            "sum": [1] * len(self.nats),
            "token": self.tokens,
            "character": [len(ending) for ending in self.endings],
            "byte": [len(ending.encode()) for ending in self.endings],
        }[norm]
        return [nats / max(1, size) for nats, size in zip(self.nats, sizes, strict=True)]

    def best(self, norm: str) -> int:
        """The likeliest ending, the first of equals."""
        values = self.by(norm)
        return values.index(max(values))


def score_endings(
    questions: Sequence[Question], log_probs: LogProbs, ids: Ids, opener: Sequence[int], context: int
) -> list[Scores]:
    """Score every ending of every question.

    Args:
        questions: In any order.
        log_probs: The model.
        ids: Its tokenizer.
        opener: What opens a text in training: put before endings that stand alone, unless the tokenizer does it.
        context: The most tokens that it reads at once; of what is longer, the beginning is left out.
    """
    rows: list[tuple[list[int], int]] = []
    for question in questions:
        text, joint = question.text.rstrip(" "), question.joint
        joint = question.text[len(text) :] + joint
        lead = ids(text) or list(opener)
        for ending in question.endings:
            whole = ids(text + joint + ending)
            if not text and whole[: len(lead)] != lead:
                whole = [*lead, *whole]
            count = max(1, len(whole) - len(lead))
            rows.append((whole[-context - 1 :], min(count, context, len(whole) - 1)))
    nats = iter(sums(rows, log_probs))
    counts = iter(count for _, count in rows)
    return [
        Scores(tuple(next(nats) for _ in each), tuple(next(counts) for _ in each), each)
        for each in (question.endings for question in questions)
    ]


@torch.no_grad()
def sums(rows: Sequence[tuple[list[int], int]], log_probs: LogProbs) -> list[float]:
    """The log-probability of so many last tokens of each row; long rows first, in batches of bounded size."""
    found = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row][0]))
    while order:
        longest = len(rows[order[0]][0])
        batch, order = order[: max(1, TOKENS // longest)], order[max(1, TOKENS // longest) :]
        padded = [[*rows[row][0], *[0] * (longest - len(rows[row][0]))] for row in batch]
        for row, values in zip(batch, log_probs(torch.tensor(padded)).double().cpu(), strict=True):
            end = len(rows[row][0]) - 1
            found[row] = float(values[end - rows[row][1] : end].sum())
    return found


def accuracy(questions: Sequence[Question], scores: Sequence[Scores], norm: str) -> float:
    """Share of questions whose likeliest ending is the right one."""
    return sum(s.best(norm) == q.answer for q, s in zip(questions, scores, strict=True)) / max(1, len(questions))


def standard_error(share: float, count: int) -> float:
    """Of a share of so many independent questions."""
    return math.sqrt(share * (1 - share) / (count - 1)) if count > 1 else 0.0
