"""Repair and quality: what a text becomes, and why it is dropped."""

import re
import unicodedata
from collections import Counter
from functools import lru_cache, partial
from typing import Any

from makar.core.errors import UserError
from makar.data.config import CollectOptions

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
ENTITY = re.compile(r"&#?\w{2,8};")
WORDLESS = re.compile(r"[^\w\s]|_")
ASCII_WORDS = bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123)) + b" \t\n\r\f\v"
COLUMNS = re.compile(r"\S(?: {4,}|\t+| *\.(?: ?\.){3,} *)\S")

LONG_LINE, SYMBOLS, REPEATED, TABULAR = 20_000, 0.5, 0.6, 0.5
"""Characters of the longest line; shares above which a document is dropped: verse has 5% symbols, code up to 40%."""


@lru_cache(1)
def repairer() -> Any:
    """Ftfy's repair, with what changes a text's meaning or look left out: quotes stay as they are."""
    try:
        import ftfy
    except ImportError:
        raise UserError("ftfy is not installed", fix="pip install 'makar[collect]'") from None
    config = ftfy.TextFixerConfig(uncurl_quotes=False, explain=False)
    return partial(ftfy.fix_text, config=config)


def normalise(text: str, code: bool = False) -> str:  # noqa: FBT001
    """Mojibake mended, entities read, control characters out, NFC, newlines plain, no blank lines at the ends.

    Args:
        text: Any text. Plain ASCII without controls or entities is already as it should be, and that is most of it.
        code: Program text: only newlines and NFC, since an odd string in it may be meant.
    """
    if not text.isascii() or CONTROLS.search(text) or (not code and "&" in text and ENTITY.search(text)):
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = unicodedata.normalize("NFC", text if code else CONTROLS.sub("", repairer()(text)))
    return text.strip("\n")


def fault_of(text: str, options: CollectOptions) -> str | None:
    """Why a text is not worth training on, or None.

    Args:
        text: A normalised text: verse, prose or code.
        options: For the least length.
    """
    if len(text) < options.min_chars or not text.strip():
        return "too short"
    lines = text.split("\n")
    if max(map(len, lines)) > LONG_LINE:
        return "a line too long"
    if symbol_share(text) > SYMBOLS:
        return "mostly symbols"
    if repeated_share(lines) > REPEATED:
        return "mostly repeated lines"
    if "   " in text or "\t" in text or ". ." in text or "...." in text:
        wide = sum(COLUMNS.search(line) is not None for line in lines)
        if wide > TABULAR * len(lines):
            return "mostly columns (a table or an index)"
    return None


def symbol_share(text: str) -> float:
    """Of the characters that are not space, the share that is neither letter nor digit."""
    symbols = len(text.encode().translate(None, ASCII_WORDS) if text.isascii() else WORDLESS.findall(text))
    return symbols / max(1, len(text) - text.count(" ") - text.count("\n"))


def repeated_share(lines: list[str]) -> float:
    """Of the characters, the share in lines that have stood before. Lines without a letter (braces) do not count."""
    if len(lines) < 4 or len(set(lines)) == len(lines):
        return 0.0
    counts = Counter(line.strip() for line in lines)
    whole = sum(len(line) * count for line, count in counts.items())
    again = sum(len(line) * (count - 1) for line, count in counts.items() if any(map(str.isalnum, line)))
    return again / max(1, whole)
