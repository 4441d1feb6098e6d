"""A pickled pandas table, read without pandas and without calling anything that the pickle names.

A pickle is a program. Here every name that it may mention becomes an inert `Record`, which only writes down what it was
called with; any other name is refused. The tree of records is then read as data.
"""

import io
import pickle
import struct
from typing import Any

import numpy as np

from makar.core.errors import InputError

ADMITTED = {
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("builtins", "slice"),
}
"""The closed table: what a DataFrame of numbers and strings, as pandas 1.0 wrote it, is made of."""

NUMBERS = {"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "b1"}


class Record:
    """What a pickle said about one object: its name, the arguments, the state. Nothing is done with them."""

    name: str
    arguments: tuple[Any, ...]
    state: Any
    __slots__ = ("arguments", "state")

    def __new__(cls, *arguments: Any) -> "Record":
        """Write the arguments down."""
        self = object.__new__(cls)
        self.arguments, self.state = arguments, None
        return self

    def __setstate__(self, state: Any) -> None:
        """Write the state down."""
        self.state = state


class Inert(pickle.Unpickler):
    """An unpickler in which every admitted name is a fresh `Record` class and every other name an error."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file)
        self.classes: dict[tuple[str, str], type[Record]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """The inert class of an admitted name."""
        key = (module, name)
        if key not in ADMITTED:
            raise Forbidden(f"{module}.{name}")
        if key not in self.classes:
            self.classes[key] = type(name, (Record,), {"name": name, "__slots__": ()})
        return self.classes[key]


class Forbidden(Exception):
    """The pickle named something that is not in the table."""


def read_frame(file: io.BufferedIOBase, where: object) -> dict[str, Any]:
    """The columns of a pickled DataFrame: numpy arrays for numbers, lists for strings.

    Args:
        file: The pickle, decompressed.
        where: For messages.

    Raises:
        InputError: It names anything but the containers in `ADMITTED`, or is damaged, or is not such a table.
    """
    try:
        return columns(Inert(file).load())
    except Forbidden as fault:
        raise InputError(
            "the pickle asks for a name that is not admitted",
            where=where,
            value=str(fault),
            fix="do not trust this file; have its publisher give Parquet or CSV",
        ) from None
    except (
        pickle.UnpicklingError, AttributeError, EOFError, ImportError, IndexError, KeyError, MemoryError,
        OverflowError, TypeError, ValueError, struct.error, RecursionError,
    ) as fault:  # fmt: skip
        raise InputError(
            f"not a pickled table that makar can read: {type(fault).__name__}: {fault}",
            where=where,
            fix="have its publisher give Parquet or CSV",
        ) from None


def columns(frame: Any) -> dict[str, Any]:
    """The columns of a DataFrame's record, from pandas' blocks."""
    expect(frame, "DataFrame")
    manager = expect(frame.state["_data"], "BlockManager")
    layout = manager.state[3]["0.14.1"]
    names = index(layout["axes"][0])
    found: dict[str, Any] = {}
    for block in layout["blocks"]:
        place = expect(block["mgr_locs"], "slice")
        rows = array(block["values"])
        places = range(*slice(*place.arguments).indices(len(names)))
        if len(places) != len(rows):
            raise ValueError("a block does not fit its columns")
        for at, row in zip(places, rows, strict=True):
            found[names[at]] = row
    return found


def index(record: Any) -> list[str]:
    """The labels of an index of strings."""
    kind, state = expect(record, "_new_Index").arguments
    if kind.name != "Index":
        raise ValueError(f"columns labelled by {kind.name}")
    (labels,) = array(state["data"])
    if not all(type(label) is str for label in labels):
        raise ValueError("columns that are not labelled by strings")
    return list(labels)


def array(record: Any) -> list[Any]:
    """The rows of an array of one or two dimensions: numpy's own for numbers, lists for strings."""
    expect(record, "_reconstruct")
    _, shape, dtype, fortran, data = record.state
    kind = expect(dtype, "dtype").arguments[0]
    length = shape[-1]
    count = shape[0] if len(shape) == 2 else 1
    if fortran or len(shape) not in (1, 2) or min(length, count) < 0:
        raise ValueError(f"an array of shape {shape}")
    if kind in NUMBERS:
        flat = np.frombuffer(data, np.dtype(kind).newbyteorder("<"))
        return list(flat.reshape(count, length))
    if kind not in ("O8", "O"):
        raise ValueError(f"an array of type {kind!r}")
    if type(data) is not list or len(data) != count * length or set(map(type, data)) - {str}:
        raise ValueError("an array of objects that are not strings")
    return [data[row * length : (row + 1) * length] for row in range(count)]


def expect(record: Any, name: str) -> Any:
    """The record itself, if it is of that name."""
    if not isinstance(record, Record) or record.name != name:
        raise ValueError(f"expected {name}, found {type(record).__name__}")
    return record
