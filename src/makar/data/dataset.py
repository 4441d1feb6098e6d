"""A dataset folder, opened for reading."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from makar.core.config import parse
from makar.core.errors import InputError, UserError
from makar.core.files import read_json, sha256
from makar.data.document import Document, Picture
from makar.data.store import DOCUMENT, PICTURE, SPLITS, Manifest, batches

AGAIN = "collect it again, or copy it again from where it was whole"


@dataclass(frozen=True)
class Dataset:
    """What `makar collect` made.

    Args:
        path: The folder.
        manifest: What it says of itself.
        verified: Shards whose hash was found right.
    """

    path: Path
    manifest: Manifest
    verified: set[str] = field(default_factory=set[str], repr=False)

    @classmethod
    def open(cls, path: Path | str) -> "Dataset":
        """Open a dataset folder; a shard's hash is checked when it is first read.

        Raises:
            InputError: It is not a dataset folder, or its manifest is damaged.
        """
        path = Path(path)
        if not (path / "manifest.json").exists():
            raise InputError("not a dataset folder: no manifest.json", where=path, fix="make one with `makar collect`")
        where = path / "manifest.json"
        try:
            found = read_json(where)
            return cls(path, parse(Manifest, found if isinstance(found, dict) else {}, where))
        except UserError as fault:
            raise InputError(f"the manifest is damaged: {fault.what}", where=where, fix=AGAIN) from None

    @property
    def hash(self) -> str:
        """The SHA-256 of what the manifest says, which names every shard's own."""
        return hashlib.sha256(json.dumps(self.manifest.model_dump(), sort_keys=True).encode()).hexdigest()

    def documents(self, split: str) -> Iterator[Document]:
        """The documents of a split, in the order of the corpus.

        Raises:
            InputError: There is no such split, it holds pictures, or a shard is missing or damaged.
        """
        if self.manifest.kind == "image":
            fix = "use it with a family of models that makes pictures"
            raise InputError("a dataset of pictures, and no text", where=self.path, fix=fix)
        for batch in self._batches(split):
            for row in zip(*(batch[name].to_pylist() for name in DOCUMENT.names), strict=True):
                yield Document(*row, kind=self.manifest.kind)

    def pictures(self, split: str) -> Iterator[Picture]:
        """The pictures of a split, in the order of their sources.

        Raises:
            InputError: There is no such split, it holds no pictures, or a shard is missing or damaged.
        """
        if self.manifest.kind != "image":
            fix = "collect pictures"
            raise InputError("a dataset without pictures", where=self.path, value=self.manifest.kind, fix=fix)
        for batch in self._batches(split):
            for image, *row in zip(*(batch[name].to_pylist() for name in PICTURE.names), strict=True):
                yield Picture(image["bytes"], *row)

    def _batches(self, split: str) -> Iterator[Any]:
        """The rows of a split, some at a time, from shards whose hashes are right."""
        if split not in SPLITS:
            raise InputError("no such split", where=self.path, value=split, fix=f"one of {', '.join(SPLITS)}")
        for shard in self.manifest.shards:
            if not shard.path.startswith(f"{split}/"):
                continue
            path = self.path / shard.path
            if shard.path not in self.verified:
                if not path.exists():
                    raise InputError("a shard is missing", where=path, fix=AGAIN)
                if sha256(path) != shard.sha256:
                    raise InputError("a shard is damaged: its hash is not the manifest's", where=path, fix=AGAIN)
                self.verified.add(shard.path)
            yield from batches(path)

    def texts(self, split: str) -> Iterator[str]:
        """The texts of a split, in the order of the corpus."""
        for document in self.documents(split):
            yield document.text

    def bytes(self, split: str) -> int:
        """The bytes of a split: texts as UTF-8, one newline each, what bits per byte divide by; pictures as PNG."""
        return self.manifest.kept[split].bytes
