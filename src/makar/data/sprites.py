"""The index of an emoji set (emoji-datasource and its kin): what each picture shows, and which belong together.

A set without an index whose files are all named after code points is named by Unicode. Where there is an index, the
pictures are files of their own, or cells of a sheet, in a file named SIDE.png or NAME_SIDE.png: every cell is a
picture of SIDE pixels with an empty one on each edge.
"""

import re
import sys
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from makar.data.document import Fault
from makar.data.pictures import Unusable, opened, to_png

if TYPE_CHECKING:
    from PIL.Image import Image

TONES = {
    "1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark",
}  # fmt: skip
"""Unicode's modifiers of skin, as its names have them."""


CELLS = 1 << 10
"""The most cells on one edge of a sheet."""


@dataclass(frozen=True)
class Named:
    """One picture of an index.

    Args:
        text: Its name, in words.
        label: Its category.
        group: The picture that it is a variation of.
        cell: Column and row of a sheet.
    """

    text: str
    label: str | None
    group: str
    cell: tuple[int, int] | None = None


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
        found |= {image: replace(named, text=text, cell=cell) for image, text, cell in variations(row, named.text)}
    return found


def named_of(row: dict[str, Any], where: str) -> Named:
    """One row of an index: the name in words, or else the short one."""
    text = str(row.get("name") or row.get("short_name") or "").replace("_", " ").lower()
    category = row.get("category")
    return Named(
        text, str(category) if category else None, f"{where}#{row.get('unified') or row['image']}", cell_of(row)
    )


def cell_of(row: dict[str, Any]) -> tuple[int, int] | None:
    """Where a picture lies on a sheet, if the index says it."""
    match row:
        case {"sheet_x": int(column), "sheet_y": int(line)} if 0 <= column < CELLS and 0 <= line < CELLS:
            return column, line
        case _:
            return None


def variations(row: dict[str, Any], text: str) -> Iterator[tuple[str, str, tuple[int, int] | None]]:
    """The pictures that show the same in other tones of skin, their names, and their cells."""
    given: Any = row.get("skin_variations")
    for tones, variation in given.items() if isinstance(given, dict) else ():
        if isinstance(variation, dict) and isinstance(variation.get("image"), str):
            words = " and ".join(TONES.get(tone, tone) for tone in str(tones).split("-"))
            yield variation["image"], f"{text}, {words} skin tone", cell_of(variation)


CODED = re.compile(r"(?:emoji_)?u?([0-9a-f]{2,6}(?:[-_][0-9a-f]{2,6})*)", re.IGNORECASE)
"""The name of a file, less its suffix, that spells code points: 1f431, 1f468-200d-1f373, emoji_u1f431, 35-20e3."""

SILENT = {"200D", "FE0F", "E007F"}
"""Code points that join others, or choose how they are drawn."""

SAID = {"2640": "woman", "2642": "man", "20E3": "keycap"}
"""What some code points mean in an emoji, where their own names are of signs."""

LETTER = "regional indicator symbol letter "
"""Before each letter of a flag's country."""

EMOJI = re.compile(r"(?:emoji_)?u?1f[0-9a-f]{3}", re.IGNORECASE)
"""How most names of emoji begin, and no number does."""


def named_by_code(files: Collection[str]) -> dict[str, Named]:
    """Pictures by file name, where all files are named after code points, and most of them after emoji's; else none.

    Args:
        files: Names of files, without folders.
    """
    if 2 * sum(EMOJI.match(file) is not None for file in files) <= len(files):
        return {}
    found: dict[str, Named] = {}
    for file in sorted(files):
        spelt = CODED.fullmatch(PurePosixPath(file).stem)
        codes = re.split("[-_]", spelt[1].upper()) if spelt else ["FFFFFF"]
        if any(int(code, 16) > sys.maxunicode for code in codes):
            return {}
        plain = [code.lstrip("0").zfill(4) for code in codes if code not in TONES]
        tones = " and ".join(TONES[code] for code in codes if code in TONES)
        text = spoken(plain)
        text += f", {tones} skin tone" if tones and text else ""
        found[file] = Named(text, None, "-".join(code for code in plain if code not in SILENT))
    return found


def spoken(codes: Sequence[str]) -> str:
    """What code points are called together; nothing where Unicode, as it is known here, has no name for one."""
    words: list[str] = []
    for code in codes:
        if code in SILENT:
            continue
        name = SAID.get(code) or unicodedata.name(chr(int(code, 16)), "").lower()
        if not name:
            return ""
        words.append(name.removeprefix(LETTER))
    if all(len(word) == 1 for word in words):
        return f"flag: {''.join(words)}"
    return ", ".join(words)


def side_of(path: str) -> int:
    """The side of the pictures of a sheet, as its name ends; 0 if that is no number."""
    found = re.search(r"(?:^|[-_])(\d{1,4})$", PurePosixPath(path).name)
    return int(found[1]) if found else 0


def cut(data: bytes, where: str, index: Mapping[str, Named]) -> Iterator[tuple[str, bytes | Fault]]:
    """The pictures of a sheet as PNG, by name, in the order of the index.

    Args:
        data: The sheet, whose name ends in the side of a picture.
        where: The file.
        index: What lies where; pictures without a cell are left out.
    """
    side = side_of(where.rpartition(".")[0])
    cells = {name: named.cell for name, named in index.items() if named.cell is not None}

    def whole(image: "Image") -> "Image":
        across = 1 + max((max(cell) for cell in cells.values()), default=-1)
        if min(image.size) < across * (side + 2) or not cells or not side:
            raise Unusable("a sheet that does not fit its index", "give the sheet and the index of one version")
        return image.convert("RGBA")

    sheet = opened(data, where, whole)
    if isinstance(sheet, Fault):
        yield where, sheet
        return
    for name, (column, row) in cells.items():
        left, top = column * (side + 2) + 1, row * (side + 2) + 1
        yield name, to_png(sheet.crop((left, top, left + side, top + side)))
