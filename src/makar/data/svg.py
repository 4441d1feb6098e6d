"""Drawings (SVG) to pixels, offline: one that refers to anything outside itself is refused.

Fonts of the machine are not used, so that a drawing looks the same everywhere; words in it are left out.
"""

import re
from xml.etree import ElementTree

from makar.core.errors import UserError
from makar.data.document import Fault

LONGEST, SIDE, SLIM = 4 << 20, 256, 16
"""Bytes of the largest drawing; pixels of the longer side where no size is asked for; how much longer it may be."""

OUTSIDE = re.compile(
    r"<!ENTITY|<!DOCTYPE[^>]*\[|<\?xml-stylesheet|@import"
    r"|\bhref\s*=\s*[\"']\s*[^#\"'\s]|url\(\s*[\"']?\s*[^#\"'\s]",
    re.IGNORECASE,
)
"""Entities, style sheets, and references to anything but a part of the same drawing: pictures inside one too."""

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def rasterise(data: bytes, where: str, size: int | None) -> bytes | Fault:
    """A drawing as a PNG with transparency, its longer side of a size.

    Args:
        data: The file.
        where: For messages.
        size: Pixels of the longer side; `SIDE` if None.
    """
    try:
        import resvg_py
    except ImportError:
        raise UserError("resvg-py is not installed", fix="pip install 'makar[images]'") from None

    damaged = Fault("not a drawing that can be read", where, len(data), "open it in an editor and save it as plain SVG")
    if len(data) > LONGEST:
        return Fault("a drawing of too many bytes", where, len(data), "simplify it, or give it as PNG")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return damaged
    if OUTSIDE.search(text):
        return Fault("a drawing that refers to something outside itself", where, len(data), "give it as PNG")
    try:
        width, height = extent(ElementTree.fromstring(text))
        scale = (size or SIDE) / max(width, height)
        if min(width, height) * SLIM < max(width, height):
            return Fault("a drawing far longer than wide", where, len(data), "give it as PNG")
        box = (max(1, round(width * scale)), max(1, round(height * scale)))
        # 96 pixels an inch, as CSS has it: the library's own 0 leaves what is drawn in mm or pt without a size.
        return resvg_py.svg_to_bytes(svg_string=text, width=box[0], height=box[1], dpi=96, skip_system_fonts=True)
    except (ElementTree.ParseError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return damaged


def extent(root: ElementTree.Element) -> tuple[float, float]:
    """Width and height of a drawing, by its view box or else its size.

    Raises:
        ValueError: It has neither.
    """
    box = [float(number) for number in NUMBER.findall(root.get("viewBox", ""))][2:]
    if len(box) != 2:
        box = [float(number) for name in ("width", "height") for number in NUMBER.findall(root.get(name, ""))[:1]]
    if len(box) != 2 or min(box) <= 0:
        raise ValueError("a drawing without extent")
    return box[0], box[1]
