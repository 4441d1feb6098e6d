"""Rhyme and meter, line by line, from how the words sound.

Rhyme is perfect rhyme: equal from the last stressed vowel to the end, with another onset before it. Meter follows
Kiparsky's monosyllable rule: the main stress of a longer word may not stand in a weak position, except in an inverted
first foot; words of one syllable fit anywhere, but articles only in a weak one.

Paper: Halle and Keyser 1966, "Chaucer and the study of prosody"; Kiparsky 1977, "The rhythmic structure of English
verse", Linguistic Inquiry 8(2). Elisions as in Attridge 1982, "The rhythms of English poetry".
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from statistics import median
from typing import Literal

from makar.core.random import numpy_rng
from makar.measure.pronounce import LETTER_VOWELS, Phones, sounds, words

REACH = 3
"""How many lines apart two rhymes may stand: 1 in a couplet, 2 in alternating rhyme, 3 around a couplet."""

SHORTEST = 4
"""Poems of fewer lines are not scored: almost any two lines fit some meter."""

ARTICLES = frozenset(("a", "an", "the"))
COUNTS = ("dimeter", "trimeter", "tetrameter", "pentameter", "hexameter", "heptameter")
ONSETS = frozenset(
    """P R,B R,T R,D R,K R,G R,F R,TH R,SH R,P L,B L,K L,G L,F L,S L,T W,D W,K W,G W,S W,TH W,HH W,S P,S T,S K,S M,S N,
    S F,P Y,B Y,T Y,D Y,K Y,G Y,F Y,V Y,TH Y,S Y,HH Y,M Y,N Y,L Y,S P R,S P L,S P Y,S T R,S T Y,S K R,S K W,S K Y,S K L
    """.replace("\n", "").replace("    ", "").split(",")
)  # fmt: skip

Meter = tuple[str, str]
"""A foot and a count: ("iambic", "pentameter")."""


@dataclass(frozen=True)
class Verse:
    """The sound of some poems; every share is of the lines of the poems that were scored.

    Args:
        poems: How many were scored.
        short: How many were not, having fewer than four lines.
        lines: Lines scored.
        rhymed: Share with a perfect rhyme at most three lines away.
        couplet: Share with a rhyme one line away.
        alternating: Share with a rhyme two lines away.
        enclosed: Share with a rhyme three lines away.
        guessed_rhymes: Share that rhymes by spelling alone, a word being unknown; not part of `rhymed`.
        metrical: Share that fits its poem's meter: the foot and the one or two counts of it that fit most lines.
        meters: Lines by the meter they were found to fit, commonest first.
        syllables: Mean syllables in a line.
        spread: Mean distance, in syllables, between a line and the median line of its poem.
        spelled_words: Share of words whose sound was guessed from their letters.
        unknown_words: Share of words without a sound at all, such as numbers.
    """

    poems: int
    short: int
    lines: int
    rhymed: float
    couplet: float
    alternating: float
    enclosed: float
    guessed_rhymes: float
    metrical: float
    meters: Mapping[str, int]
    syllables: float
    spread: float
    spelled_words: float
    unknown_words: float


def verse(poems: Iterable[str]) -> Verse:
    """Rhyme and meter of some poems; lines are lines of text, and blank ones are passed over.

    Args:
        poems: Their texts.

    Raises:
        UserError: The pronouncing dictionary is not installed.
    """
    counts: Counter[str] = Counter()
    meters: Counter[str] = Counter()
    spread = 0.0
    for poem in poems:
        lines = [found for line in poem.splitlines() if (found := words(line))]
        if len(lines) < SHORTEST:
            counts["short"] += 1
            continue
        counts["poems"] += 1
        counts["lines"] += len(lines)
        counts.update(rhymes_of(lines))
        fitted = meters_of(lines)
        counts["metrical"] += sum(meter is not None for meter in fitted)
        meters.update(" ".join(meter) for meter in fitted if meter)
        sizes = [min_syllables(line) for line in lines]
        middle = median(sizes)
        counts["syllables"] += sum(sizes)
        spread += sum(abs(size - middle) for size in sizes)
        counts.update(f"words {sounds(word).source}" for line in lines for word in line)
    total = max(1, counts["lines"])
    said = max(1, sum(n for name, n in counts.items() if name.startswith("words ")))
    return Verse(
        poems=counts["poems"],
        short=counts["short"],
        lines=counts["lines"],
        **{name: counts[name] / total for name in ("rhymed", "couplet", "alternating", "enclosed")},
        guessed_rhymes=counts["guessed"] / total,
        metrical=counts["metrical"] / total,
        meters=dict(meters.most_common()),
        syllables=counts["syllables"] / total,
        spread=spread / total,
        spelled_words=counts["words spelling"] / said,
        unknown_words=counts["words unknown"] / said,
    )


def shuffled(poems: Sequence[str], seed: int) -> list[str]:
    """The same poems with their words in random order, as many to each line as before: what chance alone scores."""
    rng = numpy_rng(seed, "verse", "shuffled")
    mixed: list[str] = []
    for poem in poems:
        lines = [line.split() for line in poem.splitlines()]
        pool = [word for line in lines for word in line]
        order = iter(rng.permutation(len(pool)))
        mixed.append("\n".join(" ".join(pool[next(order)] for _ in line) for line in lines))
    return mixed


# Rhyme


def rhymes_of(lines: Sequence[Sequence[str]]) -> Counter[str]:
    """How many lines of a poem have a rhyme at each distance, or one by spelling only."""
    return Counter(name for each in rhymes_in(lines) for name in (each - {"guessed"} or each))


def rhymes_in(lines: Sequence[Sequence[str]]) -> list[set[str]]:
    """Of each line of a poem, at which distances it has a rhyme, and whether one by spelling."""
    ends = [line[-1] for line in lines]
    found: list[set[str]] = [set() for _ in ends]
    for i in range(len(ends)):
        for distance, name in ((1, "couplet"), (2, "alternating"), (REACH, "enclosed")):
            if i >= distance and (kind := rhyme(ends[i], ends[i - distance])):
                labels = {name, "rhymed"} if kind == "perfect" else {"guessed"}
                found[i] |= labels
                found[i - distance] |= labels
    return found


@lru_cache(maxsize=1 << 16)
def rhyme(one: str, other: str) -> Literal["perfect", "guessed"] | None:
    """Whether two words rhyme: by sound, or, where one of them is not in the dictionary, by spelling.

    The same word twice is no rhyme, nor are two words that sound alike.
    """
    a, b = sounds(one), sounds(other)
    if "unknown" in (a.source, b.source) or one == other:
        return None
    if a.phones and b.phones:
        endings = {(tail(x), tail(y)) for x in a.phones for y in b.phones}
        return "perfect" if any(x[1] == y[1] and x[0] != y[0] for x, y in endings) else None
    x, y = spelled_tail(one), spelled_tail(other)
    return "guessed" if x[1] == y[1] and x[0] != y[0] else None


def tail(phones: Phones) -> tuple[Phones, str]:
    """The onset before the last stressed vowel, and all from that vowel to the end, less its stress marks."""
    vowels = [i for i, phone in enumerate(phones) if phone[-1].isdigit()]
    if not vowels:
        return (), " ".join(phones)
    start = max((i for i in vowels if phones[i][-1] != "0"), default=vowels[-1])
    before = start
    while before > 0 and not phones[before - 1][-1].isdigit():
        before -= 1
    onset = phones[before:start]
    while len(onset) > 1 and " ".join(onset) not in ONSETS:
        onset = onset[1:]
    # The dictionary is of two minds about the vowels of "roses" and of "tired": one sound for both.
    ending = " ".join("AH" if phone == "IH0" else phone.rstrip("012") for phone in phones[start:])
    return onset, ending.replace("AY ER", "AY R").replace("AW ER", "AW R")


def spelled_tail(word: str) -> tuple[str, str]:
    """The letters before the last group of vowels (less a silent e), and all from it to the end."""
    groups = list(LETTER_VOWELS.finditer(word))
    if len(groups) > 1 and groups[-1].group() == "e" and groups[-1].end() == len(word):
        groups.pop()
    if not groups:
        return "", word
    start = groups[-1].start()
    before = groups[-2].end() if len(groups) > 1 else 0
    return word[before:start], word[start:]


# Meter


def build_meters() -> dict[str, list[Meter]]:
    """Every line that a meter allows, as weak and strong positions, and the meters that allow it."""
    table: dict[str, list[Meter]] = {}
    for n, count in enumerate(COUNTS, 2):
        shapes = {
            "iambic": [start + "ws" * (n - 1) + end for start in ("ws", "sw") for end in ("", "w")],
            "trochaic": ["sw" * n, "sw" * (n - 1) + "s"],
            "anapaestic": [start + "wws" * (n - 1) + end for start in ("wws", "ws") for end in ("", "w")],
            "dactylic": ["sww" * n, "sww" * (n - 1) + "sw", "sww" * (n - 1) + "s"],
        }
        for foot, lines in shapes.items():
            for line in lines:
                table.setdefault(line, []).append((foot, count))
    return table


METERS = build_meters()


def meters_of(lines: Sequence[Sequence[str]]) -> list[Meter | None]:
    """The meter of each line, out of the one foot and the one or two counts that fit most of the poem's lines.

    Two counts make a meter, as in a ballad or a limerick, only where each fits a fourth of the lines or more.
    """
    fits = [meters(tuple(line)) for line in lines]
    tally = Counter(meter for fit in fits for meter in fit)
    best: tuple[int, tuple[Meter, ...]] = (0, ())
    for foot in dict.fromkeys(foot for foot, _ in tally):
        ranked = [meter for meter, _ in tally.most_common() if meter[0] == foot]
        likely = [meter for meter in ranked if 4 * tally[meter] >= len(lines)] or ranked[:1]
        for pair in combinations_with_replacement(likely, 2):
            fitting = sum(not fit.isdisjoint(pair) for fit in fits)
            best = max(best, (fitting, pair), key=lambda found: (found[0], -len(set(found[1]))))
    return [next((meter for meter in best[1] if meter in fit), None) for fit in fits]


def meters(line: tuple[str, ...]) -> frozenset[Meter]:
    """Every meter that a line fits."""
    parts = [patterns(word) for word in line]
    if not all(parts):
        return frozenset()
    shortest, longest = (sum(pick(len(p) for p in part) for part in parts) for pick in (min, max))
    return frozenset(
        meter
        for positions, allowed in METERS.items()
        if shortest <= len(positions) <= longest and fills(parts, positions)
        for meter in allowed
    )


def fills(parts: Sequence[Sequence[str]], positions: str) -> bool:
    """Whether the words' patterns, one of each, lay themselves along the positions without a clash."""
    reached = {0}
    for part in parts:
        reached = {
            start + len(pattern)
            for start in reached
            for pattern in part
            if start + len(pattern) <= len(positions)
            and not any(p != "." and p != positions[start + i] for i, p in enumerate(pattern))
        }
    return len(positions) in reached


@lru_cache(maxsize=1 << 16)
def patterns(word: str) -> tuple[str, ...]:
    """How a word may stand in a line, a letter a syllable: "s" strong only, "w" weak only, "." either."""
    said = sounds(word)
    if said.source == "spelling":
        return ("." * said.syllables[0],)
    if word in ARTICLES:
        return ("w",)
    found = [pattern for phones in said.phones for pattern in stresses(phones)]
    return tuple(dict.fromkeys("." if len(pattern) == 1 else pattern for pattern in found))


def stresses(phones: Phones) -> list[str]:
    """A pronunciation's stress pattern, and that in which a vowel takes in the unstressed one it touches ("being")."""
    vowels = [(i, phone) for i, phone in enumerate(phones) if phone[-1].isdigit()]
    full = "".join("s" if phone[-1] == "1" else "." for _, phone in vowels)
    for k in range(len(vowels) - 1):
        (i, _), (j, second) = vowels[k], vowels[k + 1]
        if j == i + 1 and second[-1] == "0":
            return [full, full[: k + 1] + full[k + 2 :]]
    return [full]


def min_syllables(line: Sequence[str]) -> int:
    """The syllables of a line at its shortest."""
    return sum(min((len(pattern) for pattern in patterns(word)), default=0) for word in line)
