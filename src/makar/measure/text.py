"""Counts over plain text: variety and lengths."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def plain_words(text: str) -> list[str]:
    """The words of a text in lower case: letters and digits, apostrophes inside; all else parts words."""
    return WORD.findall(text.lower().replace("’", "'"))


@dataclass(frozen=True)
class Lengths:
    """How long some texts are.

    Args:
        texts: How many.
        empty: How many hold no word.
        words: Mean words.
        median_words: Median words.
        longest_words: Most words.
        lines: Mean lines that are not blank.
        characters: Mean characters.
    """

    texts: int
    empty: int
    words: float
    median_words: float
    longest_words: int
    lines: float
    characters: float


def lengths(texts: Sequence[str]) -> Lengths:
    """How long some texts are; all zero where there are none."""
    counts = [len(plain_words(text)) for text in texts] or [0]
    return Lengths(
        texts=len(texts),
        empty=sum(count == 0 for count in counts) if texts else 0,
        words=fmean(counts),
        median_words=float(median(counts)),
        longest_words=max(counts),
        lines=fmean([sum(bool(line.strip()) for line in text.splitlines()) for text in texts] or [0]),
        characters=fmean([len(text) for text in texts] or [0]),
    )


def distinct(texts: Sequence[str], n: int, limit: int | None = None) -> float:
    """Different word n-grams over all word n-grams; 1 where no phrase comes twice, 0 where there is none at all.

    It falls as text grows, so compare only over the same number of words.

    Args:
        texts: Samples; no n-gram crosses from one to the next.
        n: Words in a phrase, from 1.
        limit: Count only this many n-grams, from the start; None for all.

    Paper: arXiv 1510.03055, section 5.
    """
    grams: list[tuple[str, ...]] = []
    for text in texts:
        found = plain_words(text)
        grams += zip(*(found[i:] for i in range(n)), strict=False)
        if limit is not None and len(grams) >= limit:
            grams = grams[:limit]
            break
    return len(set(grams)) / max(1, len(grams))
