"""The GGUF container, versions 2 and 3, read without trusting it.

Every count, length and offset that the file declares is held against the file's own size before anything is allocated
for it, and no byte of a tensor is claimed twice: what is read is never larger than the file, unpacked 8 times at most.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import ModelError
from makar.interop.gguf_blocks import KINDS, unpack

Kind = GGMLQuantizationType

VERSIONS = (2, 3)
MOST_DIMENSIONS = 4
AGAIN = "download it again"

LENGTH = struct.Struct("<Q")
"""Bytes of a text, before it."""

SCALARS: Mapping[GGUFValueType, str] = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.FLOAT64: "d",
    GGUFValueType.BOOL: "?",
}
"""Plain values, as `struct` names them."""


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies.

    Args:
        kind: How its numbers are packed.
        shape: As torch counts, slowest dimension first.
        start: Its first byte in the file.
        size: Bytes.
    """

    kind: Kind
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class Gguf:
    """An open file.

    Args:
        path: Where it lies.
        metadata: Everything it says of the model, by key.
        tensors: By name, none of them read yet.
        data: The bytes of the file.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    data: memoryview

    def tensor(self, name: str) -> Float[Tensor, "..."]:
        """Read one tensor into memory of its own, in float32."""
        stored = self.tensors[name]
        return unpack(stored.kind, self.data[stored.start : stored.start + stored.size], stored.shape)

    def fault(self, what: str, value: object = None, fix: str = AGAIN) -> ModelError:
        """An error that names this file."""
        return ModelError(what, where=self.path, value=value, fix=fix)


@final
class Cursor:
    """A place in the bytes of a file that moves forward and never beyond the end."""

    def __init__(self, data: memoryview, path: Path) -> None:
        self.data, self.path, self.place = data, path, 0

    def fault(self, what: str, value: object = None, fix: str = AGAIN) -> ModelError:
        """An error that names the file."""
        return ModelError(what, where=self.path, value=value, fix=fix)

    def need(self, count: int, size: int, what: str) -> None:
        """Refuse to go on unless so many things of at least so many bytes can still follow.

        Raises:
            ModelError: The file is too short for what it declares.
        """
        if count * size > len(self.data) - self.place:
            raise self.fault(f"the file is truncated or damaged: it declares more {what} than it can hold", count)

    def scalar(self, code: str) -> Any:
        """One plain value."""
        size = struct.calcsize(code)
        self.need(1, size, "values")
        (found,) = struct.unpack_from(f"<{code}", self.data, self.place)
        self.place += size
        return float(str(np.float32(found))) if code == "f" else found  # 1e-05, not 9.999999747378752e-06

    def string(self) -> str:
        """A length and so many bytes of UTF-8."""
        return self.strings(1)[0]

    def strings(self, count: int) -> list[str]:
        """So many of them: a tokenizer has a hundred thousand."""
        self.need(count, LENGTH.size, "texts")
        found, data, size = list[str](), self.data, len(self.data)
        for _ in range(count):
            begin = self.place + LENGTH.size
            end = begin + LENGTH.unpack_from(data, self.place)[0] if begin <= size else begin
            if end > size:
                raise self.fault("the file is truncated or damaged: a text ends beyond it", f"byte {end} of {size}")
            try:
                found.append(str(data[begin:end], "utf-8"))
            except UnicodeDecodeError:
                raise self.fault("a text in the header is not UTF-8", bytes(data[begin:end][:40])) from None
            self.place = end
        return found

    def value(self, kind: int) -> Any:
        """A value of a numbered type; an array has one type for all and holds no arrays."""
        if kind == GGUFValueType.STRING:
            return self.string()
        if kind != GGUFValueType.ARRAY:
            return self.scalar(self.code(kind))
        inner, count = self.scalar("I"), self.scalar("Q")
        if inner == GGUFValueType.STRING:
            return self.strings(count)
        code = self.code(inner)
        size = struct.calcsize(code)
        self.need(count, size, "values")
        found = np.frombuffer(self.data, np.dtype(code).newbyteorder("<"), count, self.place).tolist()
        self.place += count * size
        return found

    def code(self, kind: int) -> str:
        """How `struct` names a plain type.

        Raises:
            ModelError: There is no such type.
        """
        if kind not in tuple(SCALARS):
            raise self.fault("the header holds a value of an unknown type", kind)
        return SCALARS[GGUFValueType(kind)]


def open_gguf(path: Path) -> Gguf:
    """Read the header of a file; its tensors stay where they are until they are asked for.

    Raises:
        ModelError: It is no GGUF file, of another version, truncated or damaged, or packed in a way unknown here.
    """
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as fault:  # an empty file cannot be mapped
        reason = fault.strerror if isinstance(fault, OSError) else "it is empty"
        raise ModelError(f"cannot be read: {reason}", where=path, fix="check the path") from None
    cursor = Cursor(data, path)
    if bytes(data[:4]) != b"GGUF":
        raise cursor.fault("not a GGUF file", bytes(data[:4]), "name a file that begins with the letters GGUF")
    cursor.place = 4
    version = cursor.scalar("I")
    if version not in VERSIONS:
        fix = "convert it again with a llama.cpp of 2023 or later, for a little-endian machine"
        raise cursor.fault("another version of GGUF than 2 and 3", version, fix)
    tensor_count, value_count = cursor.scalar("Q"), cursor.scalar("Q")
    metadata = unique(cursor, value_count, 13, lambda: cursor.value(cursor.scalar("I")))
    declared = unique(cursor, tensor_count, 24, lambda: tensor_info(cursor))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise cursor.fault("general.alignment is no power of two", alignment)
    start = -(-cursor.place // alignment) * alignment
    return Gguf(path, metadata, placed(cursor, declared, start, alignment), data)


def unique(cursor: Cursor, count: int, least: int, read: Callable[[], Any]) -> dict[str, Any]:
    """So many names with what follows each, no name twice; `least` is the fewest bytes that one can take."""
    cursor.need(count, least, "entries")
    found: dict[str, Any] = {}
    for _ in range(count):
        name = cursor.string()
        if name in found:
            raise cursor.fault("the header names something twice", name)
        found[name] = read()
    return found


def tensor_info(cursor: Cursor) -> tuple[Kind, tuple[int, ...], int]:
    """A tensor's packing, shape and offset behind the header.

    Raises:
        ModelError: It has no or too many dimensions, or is packed in a way unknown here.
    """
    dimensions = cursor.scalar("I")
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise cursor.fault(f"a tensor must have 1 to {MOST_DIMENSIONS} dimensions", dimensions)
    shape = tuple(cursor.scalar("Q") for _ in range(dimensions))[::-1]
    number, offset = cursor.scalar("I"), cursor.scalar("Q")
    if number not in KINDS:
        name = Kind(number).name if number in tuple(Kind) else number
        known = ", ".join(kind.name for kind in KINDS)
        raise cursor.fault("a tensor is quantised in a way that makar does not read", name, f"there are: {known}")
    return Kind(number), shape, offset


def placed(cursor: Cursor, declared: dict[str, Any], start: int, alignment: int) -> dict[str, Stored]:
    """Tensors where they lie, each whole, inside the file and touching no other.

    Raises:
        ModelError: One is not.
    """
    found: dict[str, Stored] = {}
    for name, (kind, shape, offset) in declared.items():
        block, width = gguf.GGML_QUANT_SIZES[kind]
        if 0 in shape or shape[-1] % block:
            raise cursor.fault(f"tensor {name!r} cannot be {kind.name}: rows must be multiples of {block}", shape)
        size = math.prod(shape) // block * width
        if offset % alignment or start + offset + size > len(cursor.data):
            raise cursor.fault(f"the file is truncated or damaged: tensor {name!r} lies beyond its end", shape)
        found[name] = Stored(kind, shape, start + offset, size)
    places = sorted((stored.start, stored.start + stored.size, name) for name, stored in found.items())
    for (_, end, _), (begin, _, name) in zip(places, places[1:], strict=False):
        if begin < end:
            raise cursor.fault(f"tensor {name!r} lies on top of another")
    return found
