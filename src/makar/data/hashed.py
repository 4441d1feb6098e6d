"""Folders of shards that carry the hash of each of their files in a meta.json, which carries its own."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

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
