"""A model from elsewhere as a folder of our own, which says where it comes from."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makar import __version__
from makar.core.errors import InputError
from makar.core.files import folder_atomic, write_atomic
from makar.core.nouns import Model
from makar.data.fetch import hash_of

UNDECLARED = "not declared"
CARD = "README.md"
"""What a model folder says of itself to people."""


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Args:
        name: As the user named it.
        sha256: Of the file, or of the folder's names and their files' hashes.
        licence: As the file, its package or the table of known names says.
        title: What its maker calls it.
    """

    name: str
    sha256: str
    licence: str = UNDECLARED
    title: str = ""

    def line(self) -> str:
        """All of it in one line."""
        return f"{self.title or self.name}: licence {self.licence}, SHA-256 {self.sha256}, from {self.name}"


def origin_of(folder: Path, name: str) -> Origin:
    """What a model folder says of where it comes from: its card's first heading, and the licence in the card's head.

    Args:
        folder: With a README.md or without.
        name: As the user named it.
    """
    path = folder / CARD
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    licence = re.search(r"^license:(.+)$", head[1], re.MULTILINE) if head else None
    title = re.search(r"^# (.+)$", text[head.end() if head else 0 :], re.MULTILINE)
    said = licence[1].strip(" \"'") if licence else ""
    return Origin(name, hash_of(folder)[0], said or UNDECLARED, title[1].strip() if title else "")


def keep(model: Model[Any], out: Path, origin: Origin) -> None:
    """Write a model folder, whole or not at all, with a card that names its origin.

    Raises:
        ResourceError: No space or no permission.
    """
    with folder_atomic(out) as folder:
        model.family.folder.save(model, folder)
        write_atomic(folder / CARD, card(model, origin))


def card(model: Model[Any], origin: Origin) -> str:
    """The model card of what was made somewhere else, or of several parts."""
    size = sum(parameter.numel() for parameter in model.net.parameters())
    licence = [] if origin.licence == UNDECLARED else [f"license: {json.dumps(origin.licence.lower())}"]
    head = ["---", *licence, "tags:", "- makar", f"- {model.family.name}", "library_name: transformers", "---"]
    text = [
        f"# {origin.title or Path(origin.name).name}",
        f"A {model.family.name} model of {size:,} parameters, written by makar {__version__} from `{origin.name}`.",
        f"- SHA-256 of what it was made from: `{origin.sha256}`\n- Licence: {origin.licence}",
        "What it was trained on and how is for its makers to say.",
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(text) + "\n"


def fresh(out: Path) -> Path:
    """A place to write to where nothing is yet.

    Raises:
        InputError: Something is there.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError("there is something already", where=out, fix="name another place, or remove it")
    return out
