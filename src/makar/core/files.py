"""Files that are whole or absent: written beside, fsynced, renamed into place; locks; hashes."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from makar.core.errors import ModelError, ResourceError, RunError

SEAL = "checksum"
"""The key under which a sealed JSON object holds the checksum of its others."""

LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<process>\d{1,9})\.(?P<what>tmp|old)(\.\w+)?")
"""The names of what is written beside, and of what is moved aside."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old one or the new one and nothing between."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with mending(path):
        try:
            with beside.open("wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            sync(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, keys in the order given."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that makar wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError("file is missing", where=path, fix="copy the folder again, or begin anew") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise RunError(f"not valid JSON: {fault}", where=path, fix="copy the file again, or begin anew") from None


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with a checksum of itself."""
    write_json(path, {**value, SEAL: seal_of(value)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a JSON object that was written with its checksum.

    Raises:
        RunError: It is missing, or not as it was written.
    """
    found = read_json(path)
    if not isinstance(found, dict) or found.pop(SEAL, None) != seal_of(found):
        raise RunError("the file is damaged: its checksum differs", where=path, fix="copy it again, if there is a copy")
    return found


def seal_of(value: Any) -> str:
    """The SHA-256 of plain data, however its keys are ordered."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model's folder, which somebody else may have written.

    Raises:
        ModelError: It is missing or holds none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError("file is missing", where=path, fix="copy the whole folder again") from None
    except ValueError as fault:  # broken JSON, broken UTF-8
        raise ModelError(f"not valid JSON: {fault}", where=path, fix="copy the whole folder again") from None
    if not isinstance(found, dict):
        raise ModelError("not a JSON object", where=path, value=found, fix="copy the whole folder again")
    return found


@contextlib.contextmanager
def file_atomic(path: Path) -> Generator[Path]:
    """Let a library write a file beside, then rename it into place; on an error nothing of it remains.

    An existing file at `path` is replaced. The name beside keeps the suffix, which tells some libraries what to write.
    """
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    with mending(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            sync(beside)
            beside.replace(path)
            sync(path.parent)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_atomic(path: Path) -> Generator[Path]:
    """Fill a folder beside, then rename it into place; on an error nothing of it remains.

    An existing folder at `path` is replaced: it is moved aside before the rename and removed after.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    with mending(path):
        shutil.rmtree(beside, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        try:
            yield beside
            for file in sorted(beside.rglob("*")):
                sync(file)
            sync(beside)
            if path.exists():
                path.rename(aside)
            beside.rename(path)
            sync(path.parent)
        finally:
            if aside.exists() and not path.exists():
                aside.rename(path)
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder and below; an old one without a successor is put back.

    What a living process is writing stays. Only for who alone writes in the folder: a process of another machine that
    shares the disk cannot be seen.
    """
    for path in sorted(folder.rglob(".*"), reverse=True):
        found = LEFTOVER.fullmatch(path.name)
        if found is None or lives(int(found["process"])):
            continue
        place = path.with_name(found["name"])
        if found["what"] == "old" and not place.exists():
            path.rename(place)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def lives(process: int) -> bool:
    """Whether another process of this number is running; this one may have the number of one that was killed."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return process != os.getpid()


@contextlib.contextmanager
def mending(path: Path) -> Generator[None]:
    """Say what no space, no permission and a file in the way mean, where they happened and what to do."""
    try:
        yield
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(nearest(path)).free
            raise ResourceError(
                "no space left on the disk",
                where=path,
                value=f"{free / 1e6:.0f} MB free",
                fix="free some space and run the same command again",
            ) from fault
        if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ResourceError("no permission to write", where=path, fix="choose a folder that you own") from fault
        if fault.errno in (errno.ENOTDIR, errno.EEXIST):
            raise ResourceError(
                "a file is where a folder should be", where=path, value=fault.filename, fix="name another place"
            ) from fault
        raise


def nearest(path: Path) -> Path:
    """The closest ancestor of a path that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


@contextlib.contextmanager
def lock(path: Path) -> Generator[None]:
    """Hold a folder for this process; a second one is refused. The lock goes with the process, however it ends.

    What a killed holder left half-written in the folder is removed.

    Raises:
        RunError: Another process holds it.
        ResourceError: The disk knows no locks.
    """
    with mending(path):
        path.mkdir(parents=True, exist_ok=True)
        handle = (path / ".lock").open("a+")
    try:
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # perhaps someone who only looks: that lasts no time
                time.sleep(0.1)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise RunError(
                "another process is working in this folder",
                where=path,
                value=f"process {holder}",
                fix="wait for it, or name another folder",
            ) from None
        except OSError as fault:
            fix = "name a folder on another disk"
            raise ResourceError(f"the folder cannot be locked: {fault.strerror}", where=path, fix=fix) from None
        sweep(path)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
    finally:
        handle.close()


def locked(path: Path) -> bool:
    """Whether a process holds a folder; to look leaves no trace in it."""
    try:
        handle = (path / ".lock").open()
    except OSError:  # nobody ever held it, or it is somebody else's, whose lock we may not read
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # the disk knows no locks: nobody can have held it
            return False
    return False
