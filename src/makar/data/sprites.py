"""The index of an emoji set (emoji-datasource and its kin): what each picture shows, and which belong together.

The pictures are files of their own, or cells of a sheet, in a file named SIDE.png or NAME_SIDE.png: every cell is a
picture of SIDE pixels with an empty one on each edge.
"""

import re
from collections.abc import Iterator, Mapping
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
