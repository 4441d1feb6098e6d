"""What stands beside pictures: captions, labels, indexes, and what the names of folders say.

This is the first of two walks over a source; `picture_sets` makes the second.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from posixpath import commonpath
from typing import Any

import numpy as np

from makar.core.errors import InputError
from makar.data.archives import UNPACKERS, Entry
from makar.data.document import Fault
from makar.data.fetch import Fetched, entries
from makar.data.idx import IMAGES, LABELS, read_labels
from makar.data.sprites import Named, named_by_code, read_index, side_of

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".svg"))
"""What is taken for a picture."""

BESIDE = frozenset((".txt", ".cls", ".json"))
"""What may stand beside a picture, under its name."""

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Folders that are no class and say which split their pictures belong to."""

MAX_TEXT, MAX_INDEX, MAX_ARRAY = 1 << 16, 64 << 20, 4 << 30
"""Bytes of the longest caption, of the longest list of pictures, and of the largest array of them."""


@dataclass(frozen=True)
class Facts:
    """What is said of a picture.

    Args:
        text: Its caption.
        label: The name of its class.
        group: What must stay on one side of the split with it; None for itself alone.
        split: Which split the source puts it in.
        keywords: Of the folders that it lies in, where folders are no classes.
    """

    text: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    keywords: tuple[str, ...] = ()


@dataclass
class Survey:
    """What stands beside the pictures of one source, by the path of the picture less its suffix, or with it.

    Args:
        pictures: Paths of pictures, less their suffixes.
        parents: The folders that hold pictures.
        beside: Captions (.txt), labels (.cls) and records (.json) beside pictures, by stem.
        rows: Of files metadata.jsonl: the facts of a picture, by its path.
        tables: The folders in which there is a metadata.jsonl.
        labels: Of StyleGAN's dataset.json: the folder, and labels by path.
        idx: The labels that belong to a file of images, by its path.
        index: Pictures by file name, of an index of sprites.
        faults: What could not be read.
        sheet: The file that holds the pictures of the index, if they are no files of their own.
        labelled: Whether rows of metadata.jsonl, or files beside pictures, give labels.
        classes: Whether folders are classes.
        splits: Whether folders name splits.
        root: The folder that all pictures lie in.
    """

    pictures: set[str] = field(default_factory=set[str])
    parents: set[str] = field(default_factory=set[str])
    beside: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    rows: dict[str, Facts] = field(default_factory=dict[str, Facts])
    tables: set[str] = field(default_factory=set[str])
    labels: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    idx: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    index: dict[str, Named] = field(default_factory=dict[str, Named])
    faults: list[Fault] = field(default_factory=list[Fault])
    sheet: str | None = None
    labelled: bool = False
    classes: bool = False
    splits: bool = False
    root: str = ""


def leaves(source: Fetched) -> Iterator[Entry | Fault]:
    """Every file of a source, out of all its packing; an archive that is damaged ends there, and is a fault."""
    for entry in entries(source):
        yield from unpacked(entry)


def unpacked(entry: Entry | Fault) -> Iterator[Entry | Fault]:
    """A file, or what it holds if it is packed."""
    if isinstance(entry, Fault) or suffix_of(entry.kind) not in UNPACKERS:
        yield entry
        return
    try:
        for inner in UNPACKERS[suffix_of(entry.kind)](entry):
            yield from unpacked(inner)
    except InputError as fault:
        yield Fault(f"a packed file that cannot be read: {fault.what}", str(fault.where), 0, fault.fix or "")


def suffix_of(name: str) -> str:
    """The suffix of a file name, lower case."""
    return PurePosixPath(name).suffix.lower()


def stem_of(path: str) -> str:
    """A path less its suffix: what a picture and what stands beside it share."""
    return path.removesuffix(PurePosixPath(path).suffix)


def is_picture(kind: str) -> bool:
    """Whether a file, by its name, holds a picture, or many."""
    return suffix_of(kind) in (*SUFFIXES, ".npy") or IMAGES.search(kind) is not None


def survey(source: Fetched) -> Survey:
    """The first walk: what is said of the pictures of a source."""
    found, names = Survey(), set[str]()
    for entry in leaves(source):
        if isinstance(entry, Fault):
            continue  # the second walk meets it again
        path = relative(entry.name, source)
        if is_picture(entry.kind):
            names.add(PurePosixPath(path).name)
            found.pictures.add(stem_of(path))
            found.parents.add(path.rpartition("/")[0])
            continue
        note(found, path, entry)
    orphans(found, source)
    if not (found.index or found.beside or found.rows):
        found.index = named_by_code(names)
    found.sheet = sheet_of(found)
    found.labelled = any(row.label is not None for row in found.rows.values())
    found.labelled |= any("label" in held for held in found.beside.values())
    homes = {parent for parent in found.parents if not any(owns(table, parent) for table in found.labels)}
    found.splits = {"train"} < {split for home in homes for split in [split_of(home)] if split}
    found.classes = are_classes(homes)
    found.root = commonpath(found.parents) if found.parents else ""
    return found


def relative(name: str, source: Fetched) -> str:
    """The path of a file inside its source."""
    base = source.name.removesuffix(f"/{source.inside}") if source.inside else source.name.rstrip("/")
    return name.removeprefix(base).lstrip("/") or PurePosixPath(name).name


def note(found: Survey, path: str, entry: Entry) -> None:
    """Take in one file that is no picture, if it says something of pictures."""
    folder, _, base = path.rpartition("/")
    try:
        if LABELS.search(base):
            found.idx[LABELS.sub("", path)] = read_labels(entry)
        elif base == "metadata.jsonl":
            found.tables.add(folder)
            for row in lines(entry, found):
                take_row(found, folder, row, entry)
        elif base == "dataset.json":
            found.labels[folder] = labels_of(read(entry, MAX_INDEX), folder)
        elif suffix_of(base) in BESIDE:
            size = MAX_INDEX if suffix_of(base) == ".json" else MAX_TEXT
            take_beside(found, path, read(entry, size), entry)
    except InputError as fault:
        found.faults.append(Fault(f"cannot be read: {fault.what}", str(fault.where or entry.name), 0, fault.fix or ""))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        found.faults.append(Fault("not what its name says", entry.name, 0, "repair it, or leave it out"))


def read(entry: Entry, limit: int) -> bytes:
    """A file's bytes.

    Raises:
        InputError: There are more than may be.
    """
    with entry.open() as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError("too large", where=entry.name, value=f"more than {limit:,} bytes", fix="leave it out")
    return data


def lines(entry: Entry, found: Survey) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines; those that are none are faults."""
    with entry.open() as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_INDEX), b""), 1):
            try:
                row = parsed(line) if line.strip() else None
            except (ValueError, RecursionError):
                row = False
            if isinstance(row, dict) and isinstance(row.get("file_name"), str):
                yield row
            elif row is not None:
                where = f"{entry.name}, line {number}"
                found.faults.append(
                    Fault("a row without a file name", where, 0, 'give {"file_name": ..., "text": ...}')
                )


def parsed(data: bytes) -> Any:
    """What JSON holds.

    Raises:
        ValueError: It is none, or it spells half of a surrogate pair, which no file of ours can hold.
        RecursionError: It is nested too deep.
    """
    made = json.loads(data.decode("utf-8-sig"))
    if b"\\u" in data:
        json.dumps(made, ensure_ascii=False).encode()
    return made


def take_row(found: Survey, folder: str, row: dict[str, Any], entry: Entry) -> None:
    """Keep one row of a metadata.jsonl; a name that leads out of its folder is a fault."""
    parts = [part for part in row["file_name"].replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        fix = "name pictures that lie beside it or in folders below"
        found.faults.append(Fault("a row that leads out of its folder", f"{entry.name}: {row['file_name']}", 0, fix))
        return
    path = "/".join([folder, *parts]).strip("/")
    group = f"{entry.name}#{row['group']}" if row.get("group") is not None else None
    text = row.get("text")
    found.rows[path] = Facts(text if isinstance(text, str) else None, name_of(row.get("label")), group)


def name_of(label: Any) -> str | None:
    """The name of a class that a row gives: a word or a number."""
    return str(label) if isinstance(label, str | int) and not isinstance(label, bool) and str(label) else None


def labels_of(data: bytes, folder: str) -> dict[str, str]:
    """The labels of StyleGAN's dataset.json, by path; none where it says null."""
    found = parsed(data)["labels"] or []
    return {f"{folder}/{path}".strip("/"): str(int(label)) for path, label in found}


def take_beside(found: Survey, path: str, data: bytes, entry: Entry) -> None:
    """Keep a caption, a label or a record that stands beside a picture, or an index of all pictures."""
    suffix, stem = suffix_of(path), stem_of(path)
    held = found.beside.setdefault(stem, {})
    if suffix in (".txt", ".cls"):
        said = data.decode("utf-8-sig").strip()
        held["text" if suffix == ".txt" else "label"] = TRANSLATION.sub("", said).strip()
    else:
        made = parsed(data)
        if isinstance(made, dict):
            for name, keys in (("text", ("text", "caption")), ("label", ("label", "cls"))):
                value = next((name_of(made[key]) for key in keys if key in made), None)
                if value is not None:
                    held.setdefault(name, value)
        else:
            found.index |= read_index(made, entry.name)
    if not held:
        del found.beside[stem]


TRANSLATION = re.compile(r"^[a-z]{2,3}(?:[_@]\w+)*\.utf8=.*$", re.MULTILINE)
"""A line that says the same in another language, as Tux Paint's stamps have them: "de.utf8=Ein Apfel."."""


def orphans(found: Survey, source: Fetched) -> None:
    """What speaks of pictures that are not there: captions are kept for those that are."""
    for stem in [stem for stem in found.beside if stem not in found.pictures]:
        if "text" in found.beside.pop(stem) and PurePosixPath(stem).name.lower() not in NOTES:
            found.faults.append(Fault("a caption without its picture", f"{source.name}/{stem}", 0, "add the picture"))
    for path in [path for path in found.rows if stem_of(path) not in found.pictures]:
        found.faults.append(Fault("a row without its picture", f"{source.name}/{path}", 0, "add the picture"))


NOTES = frozenset(("readme", "license", "licence", "copying", "notice", "changes", "changelog", "copyright", "authors"))
"""Names of texts that are about a set and no caption."""


def sheet_of(found: Survey) -> str | None:
    """Of sheets that hold the pictures of an index, the one of the largest pictures, its path less the suffix."""
    names = {stem_of(name) for name in found.index}
    if not names or any(PurePosixPath(stem).name in names for stem in found.pictures):
        return None
    sheets = [(side_of(stem), stem) for stem in sorted(found.pictures) if side_of(stem)]
    return max(sheets, key=lambda sheet: sheet[0], default=(0, None))[1]


def owns(folder: str, path: str) -> bool:
    """Whether a path lies in a folder."""
    return not folder or path == folder or path.startswith(f"{folder}/")


def split_of(parent: str) -> str | None:
    """The split that a folder, or one above it, is named after."""
    return next((SPLITS[part] for part in parent.lower().split("/") if part in SPLITS), None)


def class_path(parent: str) -> list[str]:
    """The folders of a picture less those that name a split."""
    return [part for part in parent.split("/") if part and part.lower() not in SPLITS]


def are_classes(parents: Iterable[str]) -> bool:
    """Whether the folders of pictures are classes: two or more names at one depth, not all of them long numbers."""
    paths = [path for path in map(class_path, parents) if path]
    names = {path[-1] for path in paths}
    parts = all(name.isdigit() and len(name) > 3 for name in names)  # 00000, 00001: pieces of one large set
    return len({len(path) for path in paths}) == 1 and len(names) > 1 and not parts
