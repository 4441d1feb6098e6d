"""Where pictures lie and what is said of them: the layouts that people keep sets of pictures in.

A source is walked twice: once for what stands beside the pictures (`picture_survey`), once for the pictures.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from makar.core.errors import InputError
from makar.data.archives import Entry
from makar.data.arrays import read_npy
from makar.data.document import Fault
from makar.data.fetch import Fetched
from makar.data.idx import CLASS_NAMES, IMAGES, read_images
from makar.data.picture_survey import (
    MAX_ARRAY,
    Facts,
    Survey,
    class_path,
    is_picture,
    leaves,
    owns,
    read,
    relative,
    split_of,
    stem_of,
    suffix_of,
)
from makar.data.pictures import MAX_BYTES
from makar.data.sprites import Named, cut


@dataclass(frozen=True)
class Found:
    """A picture as it lies in a source.

    Args:
        id: The file, and the place in it.
        content: The file's bytes, or the picture as an array.
        facts: What is said of it.
        source: As the user named it.
    """

    id: str
    content: Any
    facts: Facts
    source: str


def pictures(source: Fetched, beside: Survey) -> Iterator[Found | Fault]:
    """The second walk: every picture of a source with what is said of it, in one order everywhere.

    Args:
        source: Where they lie.
        beside: What the first walk found.
    """
    yield from beside.faults
    for entry in leaves(source):
        if isinstance(entry, Fault):
            yield entry
        elif IMAGES.search(entry.kind):
            yield from of_idx(entry, source, beside)
        elif suffix_of(entry.kind) == ".npy":
            yield from of_npy(entry, source)
        elif beside.sheet is not None and stem_of(relative(entry.name, source)) == beside.sheet:
            yield from of_sheet(entry, source, beside)
        elif is_picture(entry.kind):
            facts = facts_of(relative(entry.name, source), entry.name, beside)
            yield facts if isinstance(facts, Fault) else one(entry, facts, source)


def one(entry: Entry, facts: Facts, source: Fetched) -> Found | Fault:
    """The picture of a file."""
    try:
        return Found(entry.name, read(entry, MAX_BYTES), facts, source.name)
    except InputError as fault:
        return Fault(f"cannot be read: {fault.what}", entry.name, 0, fault.fix or "")


def facts_of(path: str, where: str, beside: Survey) -> Facts | Fault:
    """What is said of a picture, or why it cannot be used: the first that speaks of its folder is believed."""
    folder, name = path.rpartition("/")[0], PurePosixPath(path).name
    if beside.index:
        named = beside.index.get(name)
        lost = Fault(
            "not in the index of pictures", where, 0, "sheets are not used where pictures are files of their own"
        )
        return facts_in(named) if named else lost
    split = split_of(folder) if beside.splits else None
    if any(owns(table, folder) for table in beside.tables):
        row = beside.rows.get(path)
        if row is None or (beside.labelled and row.label is None):
            reason = "label missing" if row else "no row in metadata.jsonl"
            return Fault(reason, where, 0, "complete its row in metadata.jsonl")
        return replace(row, split=split)
    held = beside.beside.get(stem_of(path), {})
    label, fix = label_of(path, folder, held, beside)
    if fix:
        return Fault("label missing", where, 0, fix)
    keywords = () if label or beside.classes else tuple(class_path(folder.removeprefix(beside.root)))
    return Facts(held.get("text"), label, None, split, keywords)


def label_of(path: str, folder: str, held: dict[str, str], beside: Survey) -> tuple[str | None, str | None]:
    """The class of a picture, by what stands beside it, dataset.json or its folder; or what to do if it lacks one."""
    labels = next((labels for table, labels in beside.labels.items() if owns(table, folder)), None)
    if labels is not None:
        return labels.get(path), "add it to dataset.json" if labels and path not in labels else None
    if beside.labelled or not beside.classes:
        lacks = beside.labelled and "label" not in held
        return held.get("label"), "add its label beside it" if lacks else None
    folders = class_path(folder)
    return (folders[-1], None) if folders else (None, "move it into the folder of its class")


def of_idx(entry: Entry, source: Fetched, beside: Survey) -> Iterator[Found | Fault]:
    """The pictures of an IDX file, with the labels of the file beside it."""
    path = relative(entry.name, source)
    key = IMAGES.sub("", path)
    labels = beside.idx.get(key)
    names = next((names for name, names in CLASS_NAMES.items() if name in entry.name), None)
    prefix = PurePosixPath(key).name.lower()
    split = "test" if prefix.startswith(("t10k", "test")) else "train" if prefix.startswith("train") else None
    number = -1
    try:
        for number, pixels in enumerate(read_images(entry)):
            where = f"{entry.name}#{number}"
            if labels is not None and number >= len(labels):
                yield Fault("label missing", where, pixels.nbytes, "give as many labels as pictures")
                continue
            label = None if labels is None else int(labels[number])
            name = None if label is None else names[label] if names and label < len(names) else str(label)
            yield Found(where, pixels, Facts(None, name, None, split), source.name)
    except InputError as fault:
        yield Fault(
            f"cannot be read on: {fault.what}", f"{entry.name}, after {number + 1} pictures", 0, fault.fix or ""
        )


def of_npy(entry: Entry, source: Fetched) -> Iterator[Found | Fault]:
    """The pictures of a NumPy array."""
    try:
        for number, pixels in enumerate(read_npy(read(entry, MAX_ARRAY), entry.name)):
            yield Found(f"{entry.name}#{number}", pixels, Facts(), source.name)
    except InputError as fault:
        yield Fault(fault.what, entry.name, 0, fault.fix or "")


def of_sheet(entry: Entry, source: Fetched, beside: Survey) -> Iterator[Found | Fault]:
    """The pictures of a sheet, in the order of its index."""
    sheet = one(entry, Facts(), source)
    if isinstance(sheet, Fault):
        yield sheet
        return
    for name, content in cut(sheet.content, entry.name, beside.index):
        if isinstance(content, Fault):
            yield content
        else:
            yield Found(f"{entry.name}#{name}", content, facts_in(beside.index[name]), source.name)


def facts_in(named: Named) -> Facts:
    """What an index says of a picture."""
    return Facts(named.text, named.label, named.group)
