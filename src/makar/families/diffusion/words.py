"""Prompts in words, some of which may weigh more: "a cat wearing (sunglasses:1.4)"."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from makar.core.errors import InputError
from makar.core.nouns import Model, TextEncoder
from makar.families.diffusion.caption import Caption, caption_of, empty, encoder_of

WEIGHED = re.compile(r"\((?P<words>[^():]+):(?P<weight>[^():]*)\)")
"""Words in brackets, and how much they weigh."""

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
    """A prompt without its weights, and the words that have one.

    Raises:
        InputError: What stands for a weight is none.
    """
    text, spans, at = "", list[Span](), 0
    for match in WEIGHED.finditer(prompt):
        text += prompt[at : match.start()]
        spans.append(Span(len(text), len(text) + len(match["words"]), weight_of(match["weight"])))
        text, at = text + match["words"], match.end()
    return text + prompt[at:], spans


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
    ids = encoder.ids([text])
    found = caption_of(model, ids.to(model.device))
    if not spans:
        return found
    strength, pooled = torch.ones(found.tokens.shape[1], 1, device=model.device), found.pooled
    for begin, end, weight in spans:
        first, last = (reached(encoder, text[:place], ids) for place in (begin, end))
        strength[first:last] = weight
        without = caption_of(model, encoder.rows([text[:begin] + text[end:]]).to(model.device)).pooled
        pooled = pooled + (weight - 1) * (found.pooled - without)
    nothing = empty(model).tokens
    return Caption(nothing + strength * (found.tokens - nothing), pooled)


def reached(encoder: TextEncoder, beginning: str, ids: Int[Tensor, "1 length"]) -> int:
    """How many tokens of a text its beginning has in common with it: where the next word's begin."""
    differs = (encoder.rows([beginning]) != ids)[0].nonzero()
    return int(differs[0]) if len(differs) else ids.shape[1]
