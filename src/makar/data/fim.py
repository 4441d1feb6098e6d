"""Fill-in-the-middle: half of the documents are reordered so that a left-to-right model learns to fill a gap.

Paper: Bavarian et al. 2022, "Efficient training of language models to fill in the middle", arXiv:2207.14255, section 3.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from makar.core.random import numpy_rng


@final
@dataclass(frozen=True)
class Sentinels:
    """The ids of the tokens that mark the three parts."""

    prefix: int
    middle: int
    suffix: int


def sentinels(special: Mapping[str, int]) -> Sentinels | None:
    """The sentinels among a tokenizer's special tokens; None where it lacks one."""
    names = [f"<|fim_{part}|>" for part in ("prefix", "middle", "suffix")]
    return Sentinels(*(special[name] for name in names)) if special.keys() >= set(names) else None


def cut(text: str, rng: np.random.Generator) -> tuple[str, str, str]:
    """Prefix, middle and suffix of a text, cut at two places between characters, uniform and independent."""
    first, second = sorted(rng.integers(0, len(text) + 1, 2).tolist())
    return text[:first], text[first:second], text[second:]


def digest(text: str) -> str:
    """A name for a text, by which its draws are keyed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def arrange(
    prefix: Sequence[int], middle: Sequence[int], suffix: Sequence[int], marks: Sentinels, *, suffix_first: bool
) -> list[int]:
    """The three parts with their sentinels, in the order that a model is trained on.

    Args:
        prefix: Ids of what stands before the gap.
        middle: Ids of what fills it.
        suffix: Ids of what stands after it.
        marks: The sentinels.
        suffix_first: SPM in the paper's second form, in which prefix and middle stay joined; PSM otherwise.
    """
    if suffix_first:
        return [marks.prefix, marks.suffix, *suffix, marks.middle, *prefix, *middle]
    return [marks.prefix, *prefix, marks.suffix, *suffix, marks.middle, *middle]


def fill_in_middle(
    encode: Callable[[list[str]], list[list[int]]],
    marks: Sentinels,
    seed: int,
    *,
    opener: Sequence[int] = (),
    closer: Sequence[int] = (),
    rate: float = 0.5,
) -> Callable[[list[str]], list[list[int]]]:
    """Wrap the encoding of texts so that a share of the documents comes out with its middle at the end.

    What happens to a document depends on the seed and on its text alone, not on the documents around it. Each
    part is encoded on its own, as it will be when a reader asks for the gap to be filled.

    Args:
        encode: Ids of pieces of text, nothing before or after them, such as `Bpe.plain_ids`.
        marks: The sentinels.
        seed: Of the choice of documents, of their order and of the cuts.
        opener: Ids before every document.
        closer: Ids after every document.
        rate: Share of the documents to reorder, half of these suffix first.

    Returns:
        A function from documents to ids for `write_tokens`.
    """

    def encode_documents(texts: list[str]) -> list[list[int]]:
        rngs = [numpy_rng(seed, "fill in the middle", digest(text)) for text in texts]
        draws = [rng.random(2) for rng in rngs]
        parts = [cut(t, rng) if draw[0] < rate else (t,) for t, rng, draw in zip(texts, rngs, draws, strict=True)]
        ids = iter(encode([piece for part in parts for piece in part]))
        rows: list[list[int]] = []
        for part, draw in zip(parts, draws, strict=True):
            found = [next(ids) for _ in part]
            if len(found) == 3:
                prefix, middle, suffix = found
                body = arrange(prefix, middle, suffix, marks, suffix_first=bool(draw[1] < 0.5))
            else:
                body = found[0]
            rows.append([*opener, *body, *closer])
        return rows

    return encode_documents
