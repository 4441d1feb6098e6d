"""Prompts in words, some of which may weigh more: "a cat wearing (sunglasses:1.4)"."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import InputError
from makar.core.nouns import Model, TextEncoder
from makar.families.diffusion.caption import Caption, caption_of, empty, encoder_of, slots
from makar.families.diffusion.towers import Towers

WEIGHED = re.compile(r"\\([\\()])|\((?P<words>(?:\\.|[^():\\])+):(?P<weight>[^():]*)\)")
"""A bracket or a backslash that is none, behind a backslash; or words in brackets, and how much they weigh."""

HEAVIEST = 4.0
"""More than that is no emphasis any more: the net never saw anything like it."""


class Span(NamedTuple):
    """Words of a text, by their places in it.

    Args:
        begin: Of the first.
        end: Behind the last.
        weight: 1 for as usual, 0 for as if they were not said.
    """

    begin: int
    end: int
    weight: float


def weighed(prompt: str) -> tuple[str, list[Span]]:
    r"""A prompt without its weights, and the words that have one; `\(`, `\)` and `\\` are characters of the text.

    Raises:
        InputError: What stands for a weight is none.
    """
    text, spans, at = "", list[Span](), 0
    for match in WEIGHED.finditer(prompt):
        text, at = text + prompt[at : match.start()], match.end()
        if match["words"] is None:
            text += match[1]
            continue
        words = re.sub(r"\\([\\()])", r"\1", match["words"])
        spans.append(Span(len(text), len(text) + len(words), weight_of(match["weight"])))
        text += words
    return text + prompt[at:], spans


def literal(text: str) -> str:
    """A text as a prompt that says just that: no words of it weigh more, whatever brackets it has."""
    return re.sub(r"[\\()]", r"\\\g<0>", text)


def readable(encoder: TextEncoder, text: str) -> str:
    """As many words of a text, from its beginning, as a tower reads; none where nothing in it is known."""

    def refused(words: str) -> bool:
        try:
            encoder.ids([words])
        except InputError:
            return True
        return False

    if not text.strip() or not refused(text):
        return text.strip()
    words = text.split()
    read = bisect_left(range(len(words)), x=True, key=lambda last: refused(" ".join(words[: last + 1])))
    return " ".join(words[:read])


def weight_of(said: str) -> float:
    """A weight, as it was written.

    Raises:
        InputError: It is no number, or one beyond what a weight can be.
    """
    try:
        weight = float(said)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= HEAVIEST:
        fix = f"write (words:1.4), with a number from 0 to {HEAVIEST:g}"
        raise InputError("not a weight of words", value=said, fix=fix)
    return weight


def captions_of(model: Model[Any], prompts: Sequence[str | None]) -> Caption:
    """What the net is told of prompts, a row for each; None for no text at all.

    Raises:
        InputError: A prompt is too long, or nothing in it is known.
        ModelError: Nothing reads texts for the model.
    """
    found = {prompt: empty(model) if prompt is None else emphasised(model, prompt) for prompt in dict.fromkeys(prompts)}
    tokens, pooled = zip(*(found[prompt] for prompt in prompts), strict=True)
    return Caption(torch.cat(tokens), torch.cat(pooled))


def emphasised(model: Model[Any], prompt: str) -> Caption:
    """What the net is told of a prompt, one row.

    The tokens of words that weigh move away from those of no text, or towards them; the text as a whole moves along
    what it would lose without these words.
    """
    text, spans = weighed(prompt)
    encoder = encoder_of(model)
    found = caption_of(model, encoder.ids([text]).to(model.device))
    if not spans:
        return found
    pooled, nothing = found.pooled, empty(model).tokens
    for begin, end, weight in spans:
        without = caption_of(model, encoder.rows([text[:begin] + text[end:]]).to(model.device)).pooled
        pooled = pooled + (weight - 1) * (found.pooled - without)
    strength = strengths(encoder, text, spans).to(model.device).repeat(1, slots(encoder))
    strength = F.pad(strength, (0, nothing.shape[2] - strength.shape[1]), value=1.0)
    return Caption(nothing + strength * (found.tokens - nothing), pooled)


def strengths(encoder: TextEncoder, text: str, spans: Sequence[Span]) -> Float[Tensor, "length width"]:
    """How much each number that a tower says of a text weighs; of two towers, each cuts the text in its own way."""
    if isinstance(encoder, Towers):
        return torch.cat([strengths(each, text, spans) for each in encoder.both], 1)
    found = torch.ones(encoder.length, encoder.width)
    for begin, end, weight in spans:
        found[reached(encoder, text, begin) : reached(encoder, text, end)] = weight
    return found


def reached(encoder: TextEncoder, text: str, place: int) -> int:
    """How many tokens of a text its beginning has in common with it, the end left out: where the next word's begin."""
    beginning, whole, nothing = encoder.rows([text[:place], text, ""])
    return int(((beginning != whole) | (beginning == nothing[1])).int().argmax())
