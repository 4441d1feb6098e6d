"""Whether a text keeps to a word that it was asked to be about: by the word itself, or by words that keep it company.

A word counts in any regular inflection ("stars", "star's", "loveth"), and in the plurals of `IRREGULAR`. Its company
are the words that stand in texts with it far more often than chance would have it, counted over a corpus in one pass.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from makar.measure.text import plain_words

NEAR = 20
"""Words of company that a word has at most."""

RARE = 5
"""A word that fewer texts hold keeps nobody company: it would be chance."""

DETERMINER = r"(?:(?:the|a|an|my|your|his|her|its|our|their|some) )?"

IRREGULAR: Mapping[str, str] = {
    "man": "men", "woman": "women", "child": "children", "foot": "feet", "tooth": "teeth", "mouse": "mice",
    "goose": "geese", "ox": "oxen", "brother": "brethren", "person": "people", "penny": "pence",
}  # fmt: skip
"""Plurals that no rule gives."""

SIBILANT = re.compile(r"(?:s|x|z|ch|sh|o)$")
"""What takes -es: "kisses"; "heroes" too."""

CLOSED = re.compile(r"^[^aeiou]*[aeiou][bdgklmnprt]$")
"""One vowel before one consonant, which is doubled: "sunned"; so "staring" is no form of "star"."""


def asked_for(wish: str, forms: Sequence[str]) -> str | None:
    """The word that a wish asks a text about, or None if it is of no such form or asks for more than a word.

    Args:
        wish: "Write a poem about the moon."
        forms: What wishes look like, with {} for what they ask for; case and a mark at the end do not matter.
    """
    said = " ".join(wish.lower().replace("’", "'").split()).rstrip(".!?")
    for form in forms:
        before, after = (re.escape(part) for part in form.lower().rstrip(".!?").split("{}"))
        if found := re.fullmatch(rf"{before}{DETERMINER}([^\W\d_]+(?:'[^\W\d_]+)?){after}", said):
            return found[1]
    return None


def inflections(word: str) -> frozenset[str]:
    """A noun's numbers and possessives, and what a verb of the same spelling may look like.

    Also such forms as the word would have if it were a plural itself; what is no word of English does no harm.
    """
    bases = {word, *(one for one, many in IRREGULAR.items() if many == word)}
    if word.endswith("s") and not word.endswith("ss"):
        bases |= {word[:-1]}
        bases |= {word[:-2]} if SIBILANT.search(word[:-2]) else set()
        bases |= {f"{word[:-3]}y"} if word.endswith("ies") else set()
        bases |= {f"{word[:-3]}f", f"{word[:-3]}fe"} if word.endswith("ves") else set()
    found = {form for base in bases if base for form in forms_of(base)}
    return frozenset(found | {f"{form}'s" for form in found})


def forms_of(base: str) -> set[str]:
    """The forms that English makes of a word by endings: plural, past, participle, and the old endings of verse."""
    if re.search(r"[^aeiou]y$", base):
        stem, participle, plural = f"{base[:-1]}i", f"{base}ing", f"{base[:-1]}ies"
    else:
        stem = base + base[-1] if CLOSED.search(base) else base.removesuffix("e")
        participle, plural = f"{stem}ing", f"{base}es" if SIBILANT.search(base) else f"{base}s"
    found = {base, plural, participle, f"{stem}ed", f"{stem}eth", f"{stem}est", IRREGULAR.get(base, base)}
    return found | {f"{base.removesuffix('e')[:-1]}ves" for ending in ("f", "fe") if base.endswith(ending)}


def holds(text: str, words: Set[str]) -> bool:
    """Whether any of some words stands in a text."""
    return not words.isdisjoint(plain_words(text))


def company(words: Collection[str], texts: Iterable[str], left_out: Set[str]) -> dict[str, frozenset[str]]:
    """For each word those that keep it company in a corpus: the `NEAR` of the highest log-likelihood ratio.

    Args:
        words: Whose company is wanted, each once.
        texts: The corpus, read once; memory holds a count for each pair of a word and one that stands with it.
        left_out: Words that keep nobody company, such as function words.

    Paper: Dunning 1993, "Accurate methods for the statistics of surprise and coincidence", section 4, over texts.
    """
    forms = {word: inflections(word) for word in words}
    words_of: dict[str, list[str]] = {}
    for word, each in forms.items():
        for form in each:
            words_of.setdefault(form, []).append(word)
    texts_read, holding, of = 0, Counter[str](), Counter[str]()
    both: dict[str, Counter[str]] = {word: Counter() for word in words}
    for text in texts:
        texts_read += 1
        there = set(plain_words(text))
        holding.update(there)
        for word in {word for form in there & words_of.keys() for word in words_of[form]}:
            of[word] += 1
            both[word].update(there)
    common = {word for word, count in holding.items() if count >= RARE and len(word) > 1} - left_out
    return {word: nearest(both[word], holding, of[word], texts_read, common - forms[word]) for word in words}


def nearest(
    both: Mapping[str, int], holding: Mapping[str, int], of: int, total: int, common: Set[str]
) -> frozenset[str]:
    """The words that stand with a word more often than by chance, by log-likelihood ratio.

    Args:
        both: Texts that hold the word and each other one.
        holding: Texts that hold each other one.
        of: Texts that hold the word.
        total: All texts.
        common: Those of the others that count.
    """
    others = sorted(common & both.keys())
    together, alone = (np.array([counts[other] for other in others], float) for counts in (both, holding))
    ratio = likelihood_ratio(together, float(of), alone, float(total))
    ratio[together * total <= of * alone] = 0.0  # they shun each other, or know nothing of each other
    return frozenset(others[k] for k in np.argsort(-ratio, kind="stable")[:NEAR].tolist() if ratio[k] > 0)


def likelihood_ratio(
    both: NDArray[np.float64], one: float, other: NDArray[np.float64], total: float
) -> NDArray[np.float64]:
    """Dunning's G squared of tables of two by two: how far both stand from what chance explains.

    Args:
        both: Texts that hold the one and the other.
        one: Texts that hold the one.
        other: Texts that hold the other.
        total: All texts.
    """
    cells = np.stack((both, one - both, other - both, total - one - other + both))
    expected = np.stack((one * other, one * (total - other), (total - one) * other, (total - one) * (total - other)))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = cells * np.log(cells * total / expected)
    return 2 * np.where(cells > 0, terms, 0.0).sum(0)
