"""Files to documents: one table from suffix to reader. Every reader streams; what it cannot read it says and counts."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from makar.core.errors import InputError
from makar.data.archives import UNPACKERS, Entry, sayable, seekable
from makar.data.benchmarks import SUFFIXES, refuse_benchmark
from makar.data.chats import FORMATS, Unfit, as_line, kind_of, recognise
from makar.data.document import Document, Fault
from makar.data.poems import read_poems

BLOCK, PIECE, RECORD = 1 << 20, 100_000, 64 << 20
"""Bytes read at once; characters from which a file is cut into pieces; bytes of the longest line of JSON or row."""

GROUP, REPEATED, VALUES = 1 << 30, 1 << 28, 1 << 27
"""Bytes that what is read of a Parquet row group may unpack to, those of strings that repeat, and how many values."""

ROWS = 1024
"""Of a Parquet file, read at once."""

Item = Document | Fault | Entry


def read(entry: Entry, source: str) -> Iterator[Document | Fault]:
    """The documents of a file, through all its packing.

    Args:
        entry: The file.
        source: The source that it belongs to, as the user named it.

    Raises:
        InputError: The file is damaged, hostile, or lacks what its reader needs.
    """
    suffix = suffix_of(sayable(entry.kind))
    if suffix not in READERS:
        yield Fault(
            f"no reader for {suffix or 'files without a suffix'}", entry.name, 0, f"readable: {' '.join(READERS)}"
        )
        return
    if suffix in SUFFIXES:
        refuse_benchmark(entry)
    empty = True
    for item in READERS[suffix](entry, source):
        empty = False
        if isinstance(item, Entry):
            yield from read(item, source)
        else:
            yield item
    if empty:
        yield Fault("empty", entry.name, 0, "check that it was written whole, or leave it out")


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
                yield replace(block, bytes=block.bytes + len(held.encode()) + rest_of(file))
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


def rest_of(file: io.BufferedIOBase) -> int:
    """How many bytes are still to be read, by reading them."""
    return sum(map(len, iter(lambda: file.read(BLOCK), b"")))


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
    """One JSON object a line: a document each."""
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
                if b"\\u" in line:  # JSON can spell half of a surrogate pair, which no UTF-8 holds
                    json.dumps(row, ensure_ascii=False).encode()
            except (ValueError, RecursionError) as fault:
                broken = "broken UTF-8" if isinstance(fault, UnicodeError) else "not valid JSON"
                yield Fault(broken, where, len(line), "repair the line or leave it out")
                continue
            yield record(row, entry.name, number, source, place="line")


def read_csv(entry: Entry, source: str) -> Iterator[Item]:
    """A table with a header: a document a row."""
    stream: Any = entry.open()
    number = 0
    with io.TextIOWrapper(stream, "utf-8-sig", newline="") as file:
        csv.field_size_limit(RECORD)
        try:
            for number, row in enumerate(csv.DictReader(file), 1):
                yield record(row, entry.name, number, source)
        except UnicodeDecodeError as fault:
            lost = len(fault.object) + rest_of(stream)
            yield Fault("broken UTF-8", f"{entry.name}, after row {number}", lost, "convert it: iconv -t utf-8")
        except csv.Error as fault:
            raise InputError(f"not valid CSV: {fault}", where=entry.name, fix="give Parquet or JSON lines") from None


def read_parquet(entry: Entry, source: str) -> Iterator[Item]:
    """A table: a document a row. Its metadata is believed only where it asks for little."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with seekable(entry) as file:
        try:
            metadata = pq.read_metadata(file)
            names = metadata.schema.to_arrow_schema().names
            wanted = [name for name in ("text", "group") if name in names] if "text" in names else names
            leaves = [k for k in range(metadata.num_columns) if metadata.schema.column(k).path.split(".")[0] in wanted]
            strings = [metadata.schema.column(k) for k in leaves]
            once = [leaf.path for leaf in strings if leaf.logical_type.type == "STRING"]
            number = 0
            for group in range(metadata.num_row_groups):
                chunks = [metadata.row_group(group).column(k) for k in leaves]
                check_group(entry, chunks, group, GROUP)
                repeated = repeating(batches(file, metadata, group, wanted, once=once, rows=1), once)
                check_group(entry, [chunk for chunk in chunks if chunk.path_in_schema in repeated], group, REPEATED)
                for batch in batches(file, metadata, group, wanted, once=repeated):
                    for row in rows_of(batch, entry):
                        number += 1
                        yield record(row, entry.name, number, source)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as fault:
            raise InputError(f"not valid Parquet: {fault}", where=entry.name, fix="copy it again") from None


def batches(
    file: Any, metadata: Any, group: int, columns: list[str], *, once: list[str], rows: int = ROWS
) -> Iterator[Any]:
    """Some rows at a time of a row group, of which little more than these is in memory.

    Args:
        file: The Parquet file.
        metadata: Its own.
        group: Which row group.
        columns: Names.
        once: Of strings, as dictionaries: what is stored once and said a million times is in memory once; but so is
            all that the row group holds, to its end.
        rows: In a batch.
    """
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file, metadata=metadata, read_dictionary=once, buffer_size=BLOCK, pre_buffer=False)
    return table.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)


def repeating(batches: Iterator[Any], once: list[str]) -> list[str]:
    """Which columns of strings could say a stored value so often that `ROWS` of them are too much for memory.

    Args:
        batches: With dictionaries. The first has read all that the file stores to be repeated.
        once: The columns; one in lists or records may say a value any number of times.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known: set[str] = set()
    long: set[str] = set()
    for batch in islice(batches, 1):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if isinstance(column, pa.DictionaryArray) and "." not in name:
                lengths = pc.call_function("binary_length", [column.dictionary])
                longest = pc.call_function("max", [lengths]).as_py() or 0
                known.add(name)
                long |= {name} if ROWS * longest > RECORD else set()
    return [name for name in once if name not in known or name in long]


def check_group(entry: Entry, chunks: list[Any], number: int, most: int) -> None:
    """Refuse a row group that says that it needs more memory than there should be to read it.

    Raises:
        InputError: Says how much, and what the limit is.
    """
    size, values = sum(chunk.total_uncompressed_size for chunk in chunks), sum(chunk.num_values for chunk in chunks)
    if not 0 <= size <= most or not 0 <= values <= VALUES:
        raise InputError(
            f"a row group of more than {most >> 20} MiB or {VALUES >> 20} Mi values",
            where=f"{entry.name}, row group {number}",
            value=f"{size >> 20} MiB, {values >> 20} Mi values",
            fix="write it with smaller row groups, or do not trust it",
        )


def rows_of(batch: Any, entry: Entry) -> Iterator[dict[str, Any]]:
    """The rows of a batch as plain data, counted before they take memory; many long ones are taken one by one.

    Raises:
        InputError: The file or one of its rows is larger than any honest text.
    """
    size = expanded(batch.to_struct_array())
    entry.budget.spend(size)
    if size <= RECORD:
        yield from batch.to_pylist()
        return
    for k in range(len(batch)):
        row = batch.slice(k, 1)
        if expanded(row.to_struct_array()) > RECORD:
            raise InputError("a row of more than 64 MiB", where=entry.name, fix="split the file into smaller records")
        yield from row.to_pylist()


def expanded(array: Any) -> int:
    """The bytes of an array's values once each is written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.DictionaryArray):
        lengths = pc.call_function("binary_length", [array.dictionary])
        said = pc.call_function("sum", [lengths.cast("int64").take(array.indices)]).as_py()
        return array.indices.nbytes + (said or 0)
    if pa.types.is_struct(array.type):
        return len(array) + sum(map(expanded, array.flatten()))
    if pa.types.is_map(array.type):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return len(array) + sum(expanded(inner.slice(first, last - first)) for inner in (array.keys, array.items))
    if pa.types.is_nested(array.type):
        return len(array) + expanded(array.flatten())
    return array.nbytes


def record(row: Any, name: str, number: int, source: str, place: str = "row") -> Document | Fault:
    """One row of a table: its field `text`, or else a record of one of the formats that `chats` knows.

    Args:
        row: An object; without a field `group` it is its own group.
        name: Of the file.
        number: Of the row, from 1.
        source: As the user named it.
        place: What the number counts.

    Raises:
        InputError: The first row has neither a text nor the fields of any format.
    """
    where, key = f"{name}, {place} {number}", f"{name}#{number}"
    fields: dict[str, Any] = row if isinstance(row, dict) else {}
    group = key if fields.get("group") is None else f"{name}#{fields['group']}"
    if "text" in fields:
        if not isinstance(fields["text"], str):
            return Fault("text is not a string", where, 0, "give a string")
        return Document(fields["text"], key, group, source)
    make = recognise(fields)
    if make is None:
        found = ", ".join(map(str, fields)) if isinstance(row, dict) else type(row).__name__
        formats = ", ".join("+".join(names) for names, _ in FORMATS)
        if number == 1:
            fix = f"rename the field that holds the text, or give the fields of a conversation: {formats}"
            raise InputError("no field 'text'", where=where, value=found, fix=fix)
        return Fault("neither a text nor a conversation", where, len(str(row)), f"give text, or one of {formats}")
    try:
        made = make(fields)
        if kind_of(made) == "talks":
            from makar.data.talks import inlined  # pictures: only where there are some

            made = inlined(made, Path(name).parent, where)
    except Unfit as fault:
        return Fault(fault.reason, where, len(str(row)), fault.fix)
    return Document(as_line(made), key, group, source, kind_of(made))


CODE = frozenset((
    ".c", ".cc", ".cpp", ".css", ".go", ".h", ".hpp", ".hs", ".html", ".java", ".jl", ".js", ".json", ".kt", ".lua",
    ".ml", ".php", ".pl", ".py", ".pyi", ".r", ".rb", ".rs", ".scala", ".sh", ".sql", ".swift", ".tex", ".toml", ".ts",
    ".tsx", ".xml", ".yaml", ".yml", ".zig",
))  # fmt: skip
"""What is read as text but is not prose: it is never repaired beyond its encoding."""


def unpacker(unpack: Callable[[Entry], Iterator[Entry | Fault]]) -> Callable[[Entry, str], Iterator[Item]]:
    """The reader of a packed file."""
    return lambda entry, _: unpack(entry)


READERS: dict[str, Callable[[Entry, str], Iterator[Item]]] = {
    **dict.fromkeys((".txt", ".md", *sorted(CODE)), read_text),
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".pkl": read_poems,
    ".pkl.compress": read_poems,
    **{suffix: unpacker(unpack) for suffix, unpack in UNPACKERS.items()},
}
"""How each kind of file is read."""
