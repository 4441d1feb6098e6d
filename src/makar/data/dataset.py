"""A dataset folder, opened for reading."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from makar.core.config import parse
from makar.core.errors import InputError, UserError
from makar.core.files import read_json, sha256
from makar.data.document import Document
from makar.data.store import DOCUMENT, SPLITS, Manifest, batches

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
            InputError: There is no such split, or a shard is missing or damaged.
        """
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
            for batch in batches(path):
                for row in zip(*(batch[name].to_pylist() for name in DOCUMENT.names), strict=True):
                    yield Document(*row, kind=self.manifest.kind)

    def texts(self, split: str) -> Iterator[str]:
        """The texts of a split, in the order of the corpus."""
        for document in self.documents(split):
            yield document.text

    def bytes(self, split: str) -> int:
        """The bytes of a split as UTF-8, with one newline a document: what bits per byte divide by."""
        return self.manifest.kept[split].bytes
