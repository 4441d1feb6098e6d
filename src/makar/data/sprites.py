"""The index of an emoji set (emoji-datasource and its kin): what each picture shows, and which belong together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TONES = {
    "1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark",
}  # fmt: skip
"""Unicode's modifiers of skin, as its names have them."""


@dataclass(frozen=True)
class Named:
    """One picture of an index.

    Args:
        text: Its name, in words.
        label: Its category.
        group: The picture that it is a variation of.
    """

    text: str
    label: str | None
    group: str


def read_index(rows: Any, where: str) -> dict[str, Named]:
    """Pictures by file name; empty if the rows are no index of pictures.

    Args:
        rows: What the JSON file holds.
        where: The file; groups are named within it.
    """
    found: dict[str, Named] = {}
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict) or not isinstance(row.get("image"), str):
            return {}
        named = named_of(row, where)
        found[row["image"]] = named
        found |= {image: Named(text, named.label, named.group) for image, text in variations(row, named.text)}
    return found


def named_of(row: dict[str, Any], where: str) -> Named:
    """One row of an index: the name in words, or else the short one."""
    text = str(row.get("name") or row.get("short_name") or "").replace("_", " ").lower()
    category = row.get("category")
    return Named(text, str(category) if category else None, f"{where}#{row.get('unified') or row['image']}")


def variations(row: dict[str, Any], text: str) -> Iterator[tuple[str, str]]:
    """The pictures that show the same in other tones of skin, and their names."""
    given: Any = row.get("skin_variations")
    for tones, variation in given.items() if isinstance(given, dict) else ():
        if isinstance(variation, dict) and isinstance(variation.get("image"), str):
            words = " and ".join(TONES.get(tone, tone) for tone in str(tones).split("-"))
            yield variation["image"], f"{text}, {words} skin tone"
