"""PNG files with words in them: what made a picture, kept with it; and whether a byte of a file has changed."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MANIFEST = b"caBX"
"""The chunk that holds a C2PA manifest."""

TEXT_BYTES = 1 << 24
"""Compressed words that are read of a file, at most."""


def encoded(picture: Any, texts: Mapping[str, str]) -> bytes:
    """A picture of Pillow as PNG, with texts by their keys."""
    from PIL.PngImagePlugin import PngInfo

    info, memory = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_text(key, text) if text.isascii() else info.add_itxt(key, text)
    picture.save(memory, format="PNG", pnginfo=info)
    return memory.getvalue()


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a file, by their four letters.

    Raises:
        ValueError: It is damaged: with what and where.
    """
    if data[:8] != SIGNATURE:
        raise ValueError("it does not begin as a PNG file does")
    place = 8
    while True:
        head = data[place : place + 8]
        if len(head) < 8:
            raise ValueError("it ends before its last chunk")
        length, kind = struct.unpack(">I4s", head)
        body, after = data[place + 8 : place + 8 + length], place + 12 + length
        if after > len(data):
            raise ValueError(f"a chunk at byte {place} reaches beyond the file")
        if zlib.crc32(kind + body) != struct.unpack(">I", data[after - 4 : after])[0]:
            raise ValueError(f"the checksum of the chunk {kind.decode('latin-1')!r} at byte {place} is another")
        yield kind, body
        place = after
        if kind == b"IEND":
            break
    if place != len(data):
        raise ValueError(f"{len(data) - place} bytes stand behind its last chunk")


def texts_of(data: bytes) -> dict[str, str]:
    """The texts of a file by their keys, as far as it is whole; of compressed ones no more than would be believed."""
    found: dict[str, str] = {}
    left = TEXT_BYTES
    try:
        for kind, body in chunks(data):
            key, _, rest = body.partition(b"\0")
            name = key.decode("latin-1")
            if kind == b"tEXt":
                found[name] = rest.decode("latin-1")
            elif kind == b"zTXt":
                text = unpacked(rest[1:], left)
                found[name], left = text.decode("latin-1"), left - len(text)
            elif kind == b"iTXt":
                packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
                if packed:
                    text = unpacked(text, left)
                    left -= len(text)
                found[name] = text.decode("utf-8", "replace")
    except (ValueError, zlib.error):
        return found
    return found


def unpacked(data: bytes, limit: int) -> bytes:
    """What was compressed, up to a limit."""
    return zlib.decompressobj().decompress(data, limit) if limit else b""  # to zlib 0 is no limit
