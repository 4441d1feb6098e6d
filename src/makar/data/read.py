"""Files to documents: one table from suffix to reader. Every reader streams; what it cannot read it says and counts."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from makar.core.errors import InputError
from makar.data.archives import Entry, seekable, unpack_gzip, unpack_tar, unpack_zip, unpack_zstd
from makar.data.document import Document, Fault
from makar.data.poems import read_poems

BLOCK, PIECE, RECORD = 1 << 20, 100_000, 64 << 20
"""Bytes read at once; characters from which a file is cut into pieces; bytes of the longest line of JSON."""

Item = Document | Fault | Entry


def read(entry: Entry, source: str) -> Iterator[Document | Fault]:
    """The documents of a file, through all its packing.

    Args:
        entry: The file.
        source: The source that it belongs to, as the user named it.

    Raises:
        InputError: The file is damaged, hostile, or lacks what its reader needs.
    """
    suffix = suffix_of(entry.kind)
    if suffix not in READERS:
        yield Fault(
            f"no reader for {suffix or 'files without a suffix'}", entry.name, 0, f"readable: {' '.join(READERS)}"
        )
        return
    for item in READERS[suffix](entry, source):
        if isinstance(item, Entry):
            yield from read(item, source)
        else:
            yield item


def suffix_of(kind: str) -> str:
    """The suffix that picks the reader, lower case; the longest that the table has."""
    parts = kind.lower().split(".")
    double = "." + ".".join(parts[-2:])
    return double if double in READERS else f".{parts[-1]}" if len(parts) > 1 else ""


def read_text(entry: Entry, source: str) -> Iterator[Item]:
    """A text file: one document, or pieces of about 100,000 characters, cut at blank lines, each its own group."""
    with entry.open() as file:
        held, pieces = "", 0
        for block in decoded(file, entry.name):
            if isinstance(block, Fault):
                yield replace(block, bytes=block.bytes + len(held.encode()) + sum(map(len, file)))
                return
            held += block
            while len(held) > PIECE:
                cut = cut_at(held)
                yield piece(held[:cut], entry.name, pieces, source)
                held, pieces = held[cut:], pieces + 1
        if pieces:
            yield piece(held, entry.name, pieces, source)
        elif held:
            yield Document(held, entry.name, entry.name, source)


def decoded(file: io.BufferedIOBase, where: str) -> Iterator[str | Fault]:
    """UTF-8 (or UTF-16 by its mark) in blocks; the first fault ends it: to guess wrongly would be silent damage."""
    first = file.read(BLOCK)
    wide = first[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    if not wide and b"\0" in first:
        yield Fault("binary", where, len(first), "give text; a suffix is what decides how a file is read")
        return
    decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")()
    place, block = 0, first
    try:
        while block:
            yield decoder.decode(block)
            place += len(block)
            block = file.read(BLOCK)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as fault:
        at = max(0, place + fault.start)
        yield Fault(
            "broken UTF-8", f"{where}, near byte {at}", len(block) or len(fault.object), "convert it: iconv -t utf-8"
        )


def cut_at(text: str) -> int:
    """Where to cut a long text: after the last blank line of a piece, or the last line, or anywhere."""
    for mark in ("\n\n", "\n"):
        cut = text.rfind(mark, PIECE // 2, PIECE)
        if cut >= 0:
            return cut + len(mark)
    return PIECE


def piece(text: str, name: str, number: int, source: str) -> Document:
    """One piece of a long text."""
    return Document(text, f"{name}#{number}", f"{name}#{number}", source)


def read_jsonl(entry: Entry, source: str) -> Iterator[Item]:
    """One JSON object a line; its field `text`, and `id` and `group` where it has them."""
    with entry.open() as file:
        for number in range(1, 1 << 62):
            line = file.readline(RECORD)
            if not line:
                return
            where = f"{entry.name}, line {number}"
            if len(line) == RECORD and not line.endswith(b"\n"):
                raise InputError("a line of more than 64 MiB", where=where, fix="split the file into smaller records")
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError) as fault:
                broken = "broken UTF-8" if isinstance(fault, UnicodeDecodeError) else "not valid JSON"
                yield Fault(broken, where, len(line), "repair the line or leave it out")
                continue
            yield from record(row, entry.name, number, source)


def read_csv(entry: Entry, source: str) -> Iterator[Item]:
    """A table with a header; its column `text`, and `id` and `group` where it has them."""
    stream: Any = entry.open()
    with io.TextIOWrapper(stream, "utf-8-sig", newline="") as file:
        csv.field_size_limit(RECORD)
        try:
            for number, row in enumerate(csv.DictReader(file), 1):
                yield from record(row, entry.name, number, source)
        except UnicodeDecodeError as fault:
            yield Fault("broken UTF-8", entry.name, len(fault.object), "convert it: iconv -t utf-8")
        except csv.Error as fault:
            raise InputError(f"not valid CSV: {fault}", where=entry.name, fix="give Parquet or JSON lines") from None


def read_parquet(entry: Entry, source: str) -> Iterator[Item]:
    """A table; its column `text`, and `id` and `group` where it has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with seekable(entry) as file:
        try:
            table = pq.ParquetFile(file)
            names = table.schema_arrow.names
            if "text" not in names:
                yield from record(dict.fromkeys(names), entry.name, 1, source)
            wanted = [name for name in ("text", "id", "group") if name in names]
            number = 0
            for batch in table.iter_batches(batch_size=1024, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield from record(row, entry.name, number, source)
        except (pa.ArrowException, OSError) as fault:
            raise InputError(f"not valid Parquet: {fault}", where=entry.name, fix="copy it again") from None


def record(row: Any, name: str, number: int, source: str) -> Iterator[Item]:
    """One row of a table; without a group of its own it is its own group.

    Raises:
        InputError: The table has no column `text`.
    """
    if not isinstance(row, dict) or "text" not in row:
        found = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise InputError(
            "no field 'text'", where=f"{name}, row {number}", value=found, fix="rename the field that holds the text"
        )
    text = row["text"]
    if not isinstance(text, str):
        yield Fault("text is not a string", f"{name}, row {number}", 0, "give a string")
        return
    key = f"{name}#{number}"
    group = row.get("group")
    yield Document(text, key, f"{name}#{group}" if group is not None else key, source)


CODE = frozenset((
    ".c", ".cc", ".cpp", ".css", ".go", ".h", ".hpp", ".hs", ".html", ".java", ".jl", ".js", ".json", ".kt", ".lua",
    ".ml", ".php", ".pl", ".py", ".pyi", ".r", ".rb", ".rs", ".scala", ".sh", ".sql", ".swift", ".tex", ".toml", ".ts",
    ".tsx", ".xml", ".yaml", ".yml", ".zig",
))  # fmt: skip
"""What is read as text but is not prose: it is never repaired beyond its encoding."""

READERS: dict[str, Callable[[Entry, str], Iterator[Item]]] = {
    **dict.fromkeys((".txt", ".md", *sorted(CODE)), read_text),
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".pkl": read_poems,
    ".pkl.compress": read_poems,
    ".gz": lambda entry, _: unpack_gzip(entry),
    ".tgz": lambda entry, _: unpack_gzip(entry),
    ".zst": lambda entry, _: unpack_zstd(entry),
    ".zip": lambda entry, _: unpack_zip(entry),
    ".whl": lambda entry, _: unpack_zip(entry),
    ".tar": lambda entry, _: unpack_tar(entry),
}
"""How each kind of file is read."""
