"""What lies on disk: the parts that a collection works on, the shards of its result, the manifest."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from makar.core.config import Config
from makar.core.files import sha256, write_atomic
from makar.data.chats import Kind
from makar.data.config import CollectOptions

SPLITS = ("train", "valid", "test")
SHARD_BYTES, PART_BYTES, GROUP_BYTES = 64 << 20, 8 << 20, 4 << 20
"""Bytes of documents in a shard, in a part of the work, in a row group."""

DOCUMENT = pa.schema([("text", pa.string()), ("id", pa.string()), ("group", pa.string()), ("source", pa.string())])

PICTURE = pa.schema([
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64()), ("text", pa.string()),
    ("id", pa.string()), ("group", pa.string()), ("source", pa.string()),
])  # fmt: skip
"""The columns of a dataset of pictures: the file as PNG, the number of its class, its caption."""


def picture_schema(classes: Sequence[str]) -> Any:
    """The columns, with the note by which the library `datasets` knows pictures and classes as such."""
    strings = {name: {"dtype": "string", "_type": "Value"} for name in ("text", "id", "group", "source")}
    label = {"names": list(classes), "_type": "ClassLabel"} if classes else {"dtype": "int64", "_type": "Value"}
    features = {"image": {"_type": "Image"}, "label": label, **strings}
    return PICTURE.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


class Count(Config):
    """Documents, and the bytes of their text as UTF-8 with one newline each."""

    documents: int = 0
    bytes: int = 0

    def __add__(self, other: "Count") -> "Count":
        """Both together."""
        return Count(documents=self.documents + other.documents, bytes=self.bytes + other.bytes)


class SourceRecord(Config):
    """Where a part of the corpus comes from."""

    name: str
    sha256: str
    bytes: int
    licence: str


class Shard(Config):
    """One Parquet file of the result."""

    path: str
    sha256: str
    documents: int
    bytes: int


class PictureFacts(Config):
    """What the pictures of a dataset are like.

    Args:
        classes: Their names; a label is a place among them. Empty if there are no labels.
        channels: 1 if all are gray, else 3.
        smallest: The least height and width.
        largest: The greatest height and width.
        captions: How many have a text.
    """

    classes: tuple[str, ...]
    channels: Literal[1, 3]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    captions: int


class Manifest(Config):
    """What went into a dataset and what became of it; `read` is the sum of `kept_raw` and `dropped`, always.

    Args:
        kind: "text" for prose, "image" for pictures; else which records of `data.chats` the texts are. A manifest of
            prose does not say it.
        sources: In the order given.
        options: The settings.
        read: What the sources held, as read.
        kept_raw: What was kept, by split, in the bytes that were read.
        kept: The same documents, in the bytes that are stored.
        dropped: What was dropped, by reason, in the bytes that were read.
        mended: The kept documents whose text normalisation changed; of pictures, those that are stored otherwise than
            their files said.
        pictures: What the pictures are like, in a dataset of pictures.
        notes: What a reader of a figure made from this dataset should know.
    """

    format: Literal[1] = 1
    kind: Kind | Literal["image"] = Field("text", exclude_if=lambda kind: kind == "text")
    sources: list[SourceRecord]
    options: CollectOptions
    read: Count
    kept_raw: dict[str, Count]
    kept: dict[str, Count]
    dropped: dict[str, Count]
    mended: Count
    pictures: PictureFacts | None = Field(default=None, exclude_if=lambda facts: facts is None)
    shards: list[Shard]
    notes: list[str]


def tally(counts: Iterable[Mapping[str, Any]]) -> dict[str, Count]:
    """The sum of tables of counts, keys sorted."""
    found: dict[str, Count] = {}
    for table in counts:
        for key, value in table.items():
            found[key] = found.get(key, Count()) + Count.model_validate(value)
    return dict(sorted(found.items()))


def plain(counts: Mapping[str, Count]) -> dict[str, Any]:
    """A table of counts as JSON holds it."""
    return {key: count.model_dump() for key, count in counts.items()}


def write_part(path: Path, columns: Mapping[str, Sequence[Any]], notes: Mapping[str, Any]) -> None:
    """One part of the work, whole or absent, with notes in its metadata."""
    table = pa.table(dict(columns)).replace_schema_metadata({"makar": json.dumps(notes)})
    memory = io.BytesIO()
    pq.write_table(table, memory, compression="zstd", compression_level=1)
    write_atomic(path, memory.getvalue())


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array, whole or absent."""
    memory = io.BytesIO()
    np.save(memory, array)
    write_atomic(path, memory.getvalue())


def part_notes(path: Path) -> dict[str, Any]:
    """The notes of a part, without its rows."""
    return json.loads(pq.read_schema(path).metadata[b"makar"])


def read_part(path: Path, columns: Sequence[str]) -> Any:
    """Some columns of a part."""
    return pq.read_table(path, columns=list(columns), use_threads=False)


def parts(folder: Path) -> list[Path]:
    """The parts of one step so far, in order."""
    return sorted(folder.glob("[0-9]*.parquet"))


class ShardWriter:
    """The shards of one split, a new one every 64 MiB."""

    def __init__(self, folder: Path, split: str, schema: Any = DOCUMENT) -> None:
        self.folder, self.split, self.schema = folder, split, schema
        self.shards: list[Shard] = []
        self.rows: list[tuple[Any, ...]] = []
        self.held, self.documents, self.bytes = 0, 0, 0
        self.file: Any = None
        self.writer: Any = None
        (folder / split).mkdir(parents=True)

    def add(self, row: tuple[Any, ...], bytes: int) -> None:  # noqa: A002
        """One more document, its columns in the order of the schema."""
        self.rows.append(row)
        self.held += bytes
        if self.held >= GROUP_BYTES:
            self.flush()
            if self.bytes >= SHARD_BYTES:
                self.close()

    def flush(self) -> None:
        """Write what is held as a row group."""
        if self.writer is None:
            self.file = self.path().open("wb")
            self.writer = pq.ParquetWriter(self.file, self.schema, compression="zstd")
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self.schema, strict=True)]
        self.writer.write_table(pa.table(arrays, schema=self.schema))
        self.documents, self.bytes = self.documents + len(self.rows), self.bytes + self.held
        self.rows, self.held = [], 0

    def path(self) -> Path:
        """The shard being written."""
        return self.folder / self.split / f"{len(self.shards):05}.parquet"

    def close(self) -> None:
        """End the shard; a split has at least one, if an empty one."""
        if self.rows or (self.writer is None and not self.shards):
            self.flush()
        if self.writer is None:
            return
        self.writer.close()
        self.file.close()
        path = self.path()
        self.shards.append(
            Shard(
                path=path.relative_to(self.folder).as_posix(),
                sha256=sha256(path),
                documents=self.documents,
                bytes=self.bytes,
            )
        )
        self.writer, self.documents, self.bytes = None, 0, 0


def batches(path: Path) -> Iterator[Any]:
    """The rows of a shard, some megabytes at a time."""
    with path.open("rb") as file:
        yield from pq.ParquetFile(file).iter_batches(batch_size=4096, use_threads=False)
