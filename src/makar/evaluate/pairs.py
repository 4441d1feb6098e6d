"""Which of two answers a model finds likelier, beside which one was preferred."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn.utils.rnn import pad_sequence

from makar.codecs.bpe import Bpe
from makar.codecs.chat import answered
from makar.codecs.template import template_of
from makar.core.errors import InputError
from makar.core.nouns import Model
from makar.core.random import Rng
from makar.engine.load import open_model
from makar.engine.run import eval_mode
from makar.evaluate.likelihood import TOKENS
from makar.evaluate.report import Figure, Section
from makar.evaluate.rows import over_rows
from makar.evaluate.suites import Material, check_reads_text
from makar.families.language.config import LanguageConfig

Ids = tuple[list[int], list[bool]]
"""The tokens of a prompt with an answer, and which of them are the answer's."""

Record = Mapping[str, Any]
"""A preference as `data.chats` has it: `prompt`, `chosen`, `rejected`."""

Two = tuple[float, float]
"""A number of the chosen answer, and one of the rejected."""


@dataclass(frozen=True)
class Scores:
    """How a model scores the two answers of a pair.

    Args:
        totals: Log-probabilities given the prompt, or what else the model's family scores by.
        parts: Over how many parts: tokens for language.
    """

    totals: Two
    parts: Two

    @property
    def means(self) -> Two:
        """Of a part."""
        return self.totals[0] / self.parts[0], self.totals[1] / self.parts[1]

    def over(self, reference: "Scores") -> Two:
        """How much higher than by a reference."""
        return self.totals[0] - reference.totals[0], self.totals[1] - reference.totals[1]


def pairs_section(material: Material) -> Section:
    """The share of held-out pairs that a language model, or a reward model, puts in order.

    Raises:
        InputError: No pair fits the context, or the chat template has no use for one.
        ModelError: The chat template cannot be used, or the reference is no language model.
    """
    model, options = material.model, material.options
    records: list[Record] = [json.loads(text) for text in material.held_out(options.documents)]
    material.say(f"comparing {len(records):,} held-out pairs")
    found = before = scores_of(model, records, bf16=options.bf16)
    if options.reference is not None:
        reference = open_model(options.reference)
        check_reads_text(reference, str(options.reference))
        before = scores_of(reference, records, bf16=options.bf16)
    rows = [(now, then) for now, then in zip(found, before, strict=True) if now and then]
    if not rows:
        raise InputError("no pair fits the model's context", where=material.dataset.path, fix="name another dataset")
    log_prob = model.family.log_prob
    if log_prob is not None and log_prob.kind == "exact":
        figures = {
            "right_by_sum": in_order("whose chosen answer is the likelier", [now.totals for now, _ in rows]),
            "right_by_token": in_order("the same, by mean log-probability of a token", [now.means for now, _ in rows]),
            "shorter": in_order(
                "whose chosen answer has fewer tokens: what length alone scores",
                [(-now.parts[0], -now.parts[1]) for now, _ in rows],
            ),
        }
    else:
        figures = {"right": in_order("whose chosen answer has the higher reward", [now.totals for now, _ in rows])}
    if options.reference is not None:
        gained = [now.over(then) for now, then in rows]
        figures["right_by_gain"] = in_order("whose chosen answer gained more over the reference", gained)
    left = len(records) - len(rows)
    return Section(
        "Preferences",
        "Of held-out pairs, those in which the answer that was preferred scores higher than the other; equal scores "
        "count half. A log-probability is that of the answer alone, its end included, given the prompt."
        + (f" {left:,} pairs are longer than the context and left out." if left else ""),
        figures,
    )


def in_order(meaning: str, scores: Sequence[Two]) -> Figure:
    """The share of pairs whose first score is the higher, ties half."""
    won = [0.5 + 0.5 * ((chosen > rejected) - (chosen < rejected)) for chosen, rejected in scores]
    return over_rows(meaning, {"model": won, "chance": [0.5]}, "%")


def scores_of(model: Model[Any], records: Sequence[Record], *, bf16: bool) -> list[Scores | None]:
    """How a model scores each pair; None where one is longer than its context.

    Raises:
        InputError: A pair that the chat template refuses, or whose answer it leaves out.
        ModelError: The chat template cannot be used.
    """
    codec, most = cast(Bpe, model.parts["codec"]), cast(LanguageConfig, model.config).max_position_embeddings
    template = template_of(codec)
    pairs = [
        [answered(codec, template, record, side, f"pair {number}") for side in ("chosen", "rejected")]
        for number, record in enumerate(records, 1)
    ]
    fits = [max(len(ids) for ids, _ in pair) <= most for pair in pairs]
    scored = iter(totals(model, [row for pair, fit in zip(pairs, fits, strict=True) if fit for row in pair], bf16=bf16))
    return [Scores(*zip(next(scored), next(scored), strict=True)) if fit else None for fit in fits]


@torch.no_grad()
def totals(model: Model[Any], rows: Sequence[Ids], *, bf16: bool) -> list[Two]:
    """The score of each row and over how many parts it is summed; long rows first, in batches of bounded size."""
    score, device = model.family.log_prob, model.device
    assert score is not None  # every language model and reward model has one
    found: dict[int, Two] = {}
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row][0]))
    with eval_mode(model), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        while order:
            count = max(1, TOKENS // len(rows[order[0]][0]))
            batch, order = order[:count], order[count:]
            tokens, mask = (
                pad_sequence([torch.tensor(rows[row][k]) for row in batch], batch_first=True).to(device) for k in (0, 1)
            )
            values, counted = score(model, {"tokens": tokens, "loss_mask": mask}, Rng(0, 0, torch.tensor(batch)))
            sums, parts = (values.double() * counted).sum(1).tolist(), counted.sum(1).double().tolist()
            found |= zip(batch, zip(sums, parts, strict=True), strict=True)
    return [found[row] for row in range(len(rows))]
