"""A dataset of pictures with more of them, which a model made: a new folder that says which."""

import json
from collections.abc import Iterable
from pathlib import Path

from makar.core.errors import InputError
from makar.core.files import folder_atomic, write_atomic, write_json
from makar.data.card import card
from makar.data.dataset import Dataset
from makar.data.document import Picture
from makar.data.picture_steps import file_name
from makar.data.store import SPLITS, Count, Manifest, ShardWriter, SourceRecord, picture_schema


def extend(dataset: Dataset, made: Iterable[Picture], out: Path, source: SourceRecord) -> Manifest:
    """Write a dataset anew, with more pictures at the end of its training split; what is held out stays as it is.

    Args:
        dataset: Of pictures.
        made: The pictures, of the dataset's size and classes.
        out: The folder to make.
        source: What made them; its name is in the column `source` of every one of them.

    Raises:
        InputError: The folder exists.
    """
    facts = dataset.manifest.pictures
    assert facts is not None, "a dataset of pictures"
    if out.exists():
        raise InputError("the folder exists", where=out, fix="name another with --out, or remove it")
    added = Count()
    with folder_atomic(out) as folder:
        writers = {split: ShardWriter(folder, split, picture_schema(facts.classes)) for split in SPLITS}
        for split, writer in writers.items():
            for picture in dataset.pictures(split):
                add(writer, picture)
            if split == "train":
                for picture in made:
                    add(writer, picture)
                    added += Count(documents=1, bytes=len(picture.image))
            writer.close()
        manifest = extended(dataset.manifest, added, source, writers)
        quarantine = dataset.path / "quarantine.jsonl"
        write_atomic(folder / "quarantine.jsonl", quarantine.read_bytes() if quarantine.exists() else b"")
        write_json(folder / "manifest.json", manifest.model_dump())
        write_atomic(folder / "README.md", card(manifest))
    return manifest


def add(writer: ShardWriter, picture: Picture) -> None:
    """One more row."""
    image = {"bytes": picture.image, "path": file_name(picture.id)}
    row = (image, picture.label, picture.text, picture.id, picture.group, picture.source)
    writer.add(row, len(picture.image))


def extended(found: Manifest, added: Count, source: SourceRecord, writers: dict[str, ShardWriter]) -> Manifest:
    """What the new folder says of itself: made pictures count as read, so that all counts still add up."""
    note = (
        f"{added.documents:,} pictures of the training split were made by a model: those whose `source` is "
        f"{json.dumps(source.name)}. Validation and test hold none of them."
    )
    changed = {
        "sources": [*found.sources, source],
        "read": found.read + added,
        "kept_raw": {**found.kept_raw, "train": found.kept_raw["train"] + added},
        "kept": {**found.kept, "train": found.kept["train"] + added},
        "shards": [shard for writer in writers.values() for shard in writer.shards],
        "notes": [*found.notes, note],
    }
    return found.model_copy(update=changed)
