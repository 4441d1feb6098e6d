"""Folders of shards that carry the hash of each of their files in a meta.json, which carries its own."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Int64

from makar.core.errors import InputError, UserError
from makar.core.files import read_json, sha256, write_json


@final
class HashedFile:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self.bytes = 0

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, values: np.ndarray) -> None:
        """Append an array's bytes."""
        data = values.tobytes()
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)

    @property
    def record(self) -> dict[str, Any]:
        """What a description says of it."""
        return {"bytes": self.bytes, "sha256": self.sha256}

    @property
    def sha256(self) -> str:
        """The hash so far, in hex."""
        return self._digest.hexdigest()


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write the description of a folder of shards, its `files` being their records by name."""
    write_json(folder / "meta.json", {**meta, "sha256": fingerprint(meta)})


def read_meta(path: Path, what: str, again: str) -> dict[str, Any]:
    """The description of a folder of shards.

    Args:
        path: The folder.
        what: What the shards are of, for messages.
        again: How to make them anew.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        meta = read_json(path / "meta.json")
    except UserError as fault:
        raise InputError(fault.what, where=fault.where, fix=again) from None
    if not isinstance(meta, dict) or meta.get("sha256") != fingerprint(meta):
        raise InputError(f"the description of the {what} shards is damaged", where=path / "meta.json", fix=again)
    return meta


def check_files(path: Path, meta: Mapping[str, Any], what: str, again: str) -> None:
    """Compare every file of a folder of shards with its size and hash.

    Raises:
        InputError: One is missing, truncated or damaged.
    """
    for name, found in meta["files"].items():
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size != found["bytes"]:
            fault = f"{what} shard is missing" if size is None else f"{what} shard is not {found['bytes']} bytes long"
            raise InputError(fault, where=file, value=size, fix=again)
        if sha256(file) != found["sha256"]:
            raise InputError(f"{what} shard is damaged: its SHA-256 differs", where=file, fix=again)


def fingerprint(meta: Mapping[str, Any]) -> str:
    """SHA-256 of a description without its own hash."""
    rest = {key: value for key, value in meta.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class PictureShards:
    """What a folder of pictures, or of their latents, says of its rows.

    Args:
        path: The folder.
        meta: The content of meta.json.
    """

    path: Path
    meta: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 over the description of all files: equal for equal content."""
        return self.meta["sha256"]

    @property
    def rows(self) -> int:
        """Number of pictures."""
        return self.meta["rows"]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty if there are no labels."""
        return tuple(self.meta["classes"])

    @cached_property
    def labels(self) -> Int64[np.ndarray, " rows"] | None:
        """The class of every picture."""
        if not self.classes:
            return None
        return np.fromfile(self.path / "labels.bin", dtype="<i8").astype(np.int64, copy=False)
