"""How much of a real answer another answer holds, in the same order: ROUGE-L.

Paper: Lin 2004, "ROUGE: a package for automatic evaluation of summaries", section 3.1 (sentence level, F with beta 1).
The figures are those of the package `rouge-score` without its stemmer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

TOKEN = re.compile(r"[a-z0-9]+")
"""What the original script counts as a word: letters and digits of ASCII."""


@dataclass(frozen=True)
class Rouge:
    """The longest common subsequence of an answer and a real one, as shares from 0 to 1.

    Args:
        precision: Over the words of the answer.
        recall: Over the words of the real one.
        f1: Their harmonic mean.
    """

    precision: float
    recall: float
    f1: float


def rouge_l(answer: str, real: str) -> Rouge:
    """Compare an answer with a real one; all is 0 where one of them holds no word."""
    said, wanted = (TOKEN.findall(text.lower()) for text in (answer, real))
    common = common_subsequence(said, wanted)
    if not common:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = common / len(said), common / len(wanted)
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence: a row of the usual table at a time, as the bits of one number.

    Paper: Hyyrö 2004, "Bit-parallel LCS-length computation revisited", figure 2.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(one)) - 1
    row = everywhere  # a zero bit is a place at which the subsequence grows
    for word in other:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & everywhere
    return len(one) - row.bit_count()
