import io

import pytest
from PIL import Image

from makar.data.document import Fault
from makar.data.svg import rasterise

DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10">{}<rect width="10" height="10" fill="red"/></svg>'
)


def drawn(text, size=None):
    """The picture of a drawing."""
    data = rasterise(text.encode(), "here", size)
    assert isinstance(data, bytes), data
    return Image.open(io.BytesIO(data))


def test_a_drawing_is_drawn_at_the_size_asked_for():
    image = drawn(DRAWING.format(""), 64)
    assert (image.size, image.mode) == ((64, 32), "RGBA")
    assert (image.getpixel((8, 8)), image.getpixel((56, 8))[3]) == ((255, 0, 0, 255), 0)
    assert drawn(DRAWING.format("")).size == (256, 128)
    assert drawn(
        '<svg xmlns="http://www.w3.org/2000/svg" width="8px" height="8px"><path d="M0 0"/></svg>', 16
    ).size == (16, 16)


@pytest.mark.parametrize("unit", ["mm", "cm", "in", "pt", "pc", ""])
def test_a_size_on_paper_is_a_size(unit):
    text = f'<svg xmlns="http://www.w3.org/2000/svg" width="20{unit}" height="10{unit}">'
    image = drawn(text + f'<rect width="10{unit}" height="10{unit}" fill="red"/></svg>', 64)
    assert image.width == 64
    assert 31 <= image.height <= 32  # the library rounds the size in pixels first
    assert (image.getpixel((8, 8)), image.getpixel((56, 8))[3]) == ((255, 0, 0, 255), 0)


def test_parts_of_the_same_drawing_may_be_used():
    inside = '<defs><g id="a"><rect x="10" width="10" height="10" fill="blue"/></g></defs><use href="#a"/>'
    assert drawn(DRAWING.format(inside), 64).getpixel((56, 8)) == (0, 0, 255, 255)


@pytest.mark.parametrize(
    "outside",
    [
        '<image href="/etc/passwd.png"/>',
        "<image xlink:href='http://example.org/a.png'/>",
        '<image href="data:image/png;base64,AAAA"/>',
        '<image href="&#47;etc/a.png"/>',
        '<rect fill="url(http://example.org/a)"/>',
        "<style>@import 'a.css';</style>",
    ],
)
def test_nothing_outside_the_drawing_is_looked_at(outside):
    fault = rasterise(DRAWING.format(outside).encode(), "here", 64)
    assert isinstance(fault, Fault)
    assert "outside itself" in fault.reason


def test_entities_are_refused_before_they_multiply():
    bomb = '<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + DRAWING.format("&b;")
    assert "outside itself" in rasterise(bomb.encode(), "here", 64).reason


def test_copies_of_copies_end():
    copies = [f"<use href='#g{n}'/>" * 10 for n in range(8)]
    nested = "".join(f'<g id="g{n}">{copy}</g>' for n, copy in enumerate(copies, 1))
    text = DRAWING.format(f'<defs><g id="g0"><rect width="1" height="1"/></g>{nested}</defs><use href="#g8"/>')
    assert isinstance(rasterise(text.encode(), "here", 16), bytes | Fault)


@pytest.mark.parametrize(
    "text", ["", "<svg", "a poem", "<svg/>", '<svg viewBox="0 0 0 9"/>', '<svg viewBox="0 0 a b"/>']
)
def test_what_is_no_drawing_is_a_fault(text):
    assert rasterise(text.encode(), "here", 64).reason == "not a drawing that can be read"
    assert rasterise(b"\xff\xfe" + text.encode(), "here", 64).reason == "not a drawing that can be read"


def test_a_drawing_is_not_endless():
    assert "longer than wide" in rasterise(b'<svg viewBox="0 0 1 100000"/>', "here", 64).reason
    assert "too many bytes" in rasterise(b" " * (4 << 20) + b"<svg/>", "here", 64).reason
