"""Compressed files and archives, read without trusting them: bounded in size, never unpacked to disk."""

import gzip
import io
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from makar.core.errors import InputError, UserError
from makar.data.document import Fault

HIDDEN = "hidden"
"""The reason for which files and folders are passed over whose names begin with a dot."""

RATIO, FREE, TOTAL, DEPTH = 200, 64 << 20, 100 << 30, 3
"""A file may unpack to 200 times its size (text reaches 10, logs 100) or 64 MiB, to 100 GiB at most, in 3 layers."""

DAMAGE = (
    EOFError, OSError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
    IndexError, ValueError,  # what zipfile and tarfile raise over names and numbers that they do not expect
)  # fmt: skip


class Budget:
    """What one file on disk may unpack to, all layers and members together."""

    def __init__(self, where: str, size: int) -> None:
        self.where, self.size, self.spent = where, size, 0
        self.limit = min(max(FREE, RATIO * size), TOTAL)

    def spend(self, count: int) -> None:
        """Count unpacked bytes.

        Raises:
            InputError: The file unpacks to more than any honest text would.
        """
        self.spent += count
        if self.spent > self.limit:
            raise InputError(
                f"unpacks to more than {self.limit / 1e6:,.0f} MB from {self.size / 1e6:,.3g} MB: a decompression bomb",
                where=self.where,
                fix="leave it out, or unpack it yourself and collect the folder",
            )


@dataclass(frozen=True)
class Entry:
    """A file to read: on disk, or inside something.

    Args:
        name: The source as the user named it and the path inside; shown in messages and ids.
        kind: The file name that decides how it is read: that of `name` less what has been unpacked.
        open: A fresh binary stream from the start.
        budget: Shared with everything in the same file on disk.
        depth: How many layers of packing it was found under.
    """

    name: str
    kind: str
    open: Callable[[], io.BufferedIOBase]
    budget: Budget
    depth: int = 0


def on_disk(path: Path, name: str) -> Entry:
    """The entry of a file on disk."""

    def opened() -> io.BufferedReader:
        try:
            return path.open("rb")
        except OSError as fault:
            raise InputError(f"cannot be read: {fault.strerror}", where=path, fix="change its mode") from None

    return Entry(sayable(name), path.name, opened, Budget(name, path.stat().st_size))


def sayable(name: str) -> str:
    """A file's name as Unicode: disks and archives have names of bytes that are none."""
    return name.encode(errors="replace").decode()


class Metered(io.RawIOBase):
    """A stream whose every byte is counted against a budget, and whose damage is said in one line."""

    def __init__(self, inner: Any, budget: Budget, where: str) -> None:
        self.inner, self.budget, self.where = inner, budget, where
        self.left = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer with what comes next."""
        if not self.left:
            with unpacking(self.where):
                self.left = self.inner.read(len(buffer))
            self.budget.spend(len(self.left))
        data, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the stream beneath too."""
        if not self.closed:
            self.inner.close()
        super().close()


@contextmanager
def unpacking(where: str) -> Generator[None]:
    """Say what a damaged archive is, where, and what to do."""
    try:
        yield
    except DAMAGE as fault:
        raise InputError(f"truncated or damaged: {fault}", where=where, fix="copy or download it again") from None


def metered(inner: Any, entry: Entry) -> io.BufferedIOBase:
    """A buffered, counted stream of something unpacked."""
    return io.BufferedReader(Metered(inner, entry.budget, entry.name), 1 << 18)


def unzstd(file: io.BufferedIOBase) -> "Unzstd":
    """A stream of what a .zst holds, all frames; a truncated one is an error."""
    try:
        import zstandard
    except ImportError:
        raise UserError("zstandard is not installed", fix="pip install 'makar[collect]'") from None
    return Unzstd(file, zstandard)


class Unzstd:
    """Frame after frame of a .zst: zstandard's own reader takes a truncated file for a short one."""

    def __init__(self, file: io.BufferedIOBase, library: Any) -> None:
        self.file, self.library = file, library
        self.frame: Any = None
        self.left = b""

    def read(self, size: int) -> bytes:
        """Some bytes, at most 32 MiB (a block of zstd turns 4 bytes into 128 KiB); empty only at the end."""
        while True:
            data = self.left or self.file.read(min(size, 1 << 10))
            self.left = b""
            if not data:
                if self.frame is not None:
                    raise EOFError("the file ends in the middle of a frame")
                return b""
            if self.frame is None:
                self.frame = self.library.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            try:
                out = self.frame.decompress(data)
            except self.library.ZstdError as fault:
                raise EOFError(str(fault)) from None
            if self.frame.eof:
                self.left, self.frame = self.frame.unused_data, None
            if out:
                return out

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def deeper(entry: Entry, name: str, kind: str, open: Callable[[], Any]) -> Entry:  # noqa: A002
    """An entry found inside another one.

    Raises:
        InputError: Its path leads outside, or the packing is too deep.
    """
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name.startswith(("/", "\\")) or parts[0].endswith(":"):
        raise InputError(
            "a path that leads outside the archive", where=entry.name, value=name, fix="do not trust this archive"
        )
    if entry.depth == DEPTH:
        raise InputError(f"packed more than {DEPTH} times over", where=entry.name, fix="unpack it yourself")
    shown = sayable(f"{entry.name}/{name}") if name else entry.name

    def opened() -> io.BufferedIOBase:
        with unpacking(shown):
            return metered(open(), entry)

    return Entry(shown, kind, opened, entry.budget, entry.depth + 1)


def gunzip(file: io.BufferedIOBase) -> gzip.GzipFile:
    """A stream of what a .gz holds. `myfileobj` is what it closes together with itself."""
    unpacked = gzip.GzipFile(fileobj=file)
    unpacked.myfileobj = file  # pyright: ignore[reportAttributeAccessIssue]
    return unpacked


def unpack_gzip(entry: Entry) -> Iterator[Entry]:
    """What a .gz or .tgz holds."""
    yield deeper(entry, "", unpacked_kind(entry.kind), lambda: gunzip(entry.open()))


def unpack_zstd(entry: Entry) -> Iterator[Entry]:
    """What a .zst holds."""
    yield deeper(entry, "", unpacked_kind(entry.kind), lambda: unzstd(entry.open()))


def unpack_xz(entry: Entry) -> Iterator[Entry]:
    """What a .xz holds."""
    yield deeper(entry, "", unpacked_kind(entry.kind), lambda: Unxz(entry.open()))


class Unxz(lzma.LZMAFile):
    """A stream of what a .xz holds, which closes the file together with itself."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.file = file
        super().__init__(cast(Any, file))

    def close(self) -> None:
        """Close both."""
        super().close()
        self.file.close()


AR, AR_HEADER = b"!<arch>\n", 60
"""How a .deb begins, and the bytes before each of its members: name 16, dates and owners 32, size 10, an end mark 2."""

DEB_PACKING: Mapping[str, Callable[[io.BufferedIOBase], Any]] = {
    "data.tar": lambda file: file,
    "data.tar.gz": gunzip,
    "data.tar.xz": Unxz,
    "data.tar.zst": unzstd,
}
"""How the files that a Debian package installs may be packed."""


def unpack_deb(entry: Entry) -> Iterator[Entry]:
    """The files that a Debian package installs, as one .tar."""
    name, start = installed(entry)
    if name not in DEB_PACKING:
        what = "packed in a way that makar does not read"
        raise InputError(what, where=entry.name, value=name, fix="unpack it yourself")

    def opened() -> Any:
        file = entry.open()
        file.read(start)
        return DEB_PACKING[name](file)

    yield deeper(entry, "", "data.tar", opened)


def installed(entry: Entry) -> tuple[str, int]:
    """The member of a .deb that holds its files, which is the last one: its name, and where it begins."""
    with unpacking(entry.name), entry.open() as file:
        if file.read(len(AR)) != AR:
            raise EOFError("it is no Debian package")
        start = len(AR)
        while header := file.read(AR_HEADER):
            name, size = header[:16].decode("ascii").rstrip(" /"), int(header[48:58])
            start += AR_HEADER
            if name.startswith("data.tar"):
                return name, start
            start += len(file.read(size + size % 2))
        raise EOFError("it holds no files to install")


def unpacked_kind(kind: str) -> str:
    """The file name under a compression suffix: x.txt of x.txt.gz, x.tar of x.tgz."""
    stem, suffix = kind.rsplit(".", 1)
    return f"{stem}.tar" if suffix == "tgz" else stem


def unpack_zip(entry: Entry, only: str = "") -> Iterator[Entry | Fault]:
    """The members of a .zip, in its own order; what is hidden is counted and left alone.

    Args:
        entry: The archive.
        only: One member or folder of it.
    """
    with unpacking(entry.name), seekable(entry) as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            base = info.filename.rsplit("/", 1)[-1]
            member = deeper(entry, info.filename, base, lambda info=info: archive.open(info))
            if within(info.filename, only) and not info.is_dir():
                hidden = is_hidden(info.filename, only)
                yield unseen(member.name, info.file_size) if hidden else member


def unpack_tar(entry: Entry, only: str = "", skip: int = 0) -> Iterator[Entry | Fault]:
    """The members of a .tar, in its own order; what is hidden, links and devices are counted and left alone.

    Args:
        entry: The archive.
        only: One member or folder of it.
        skip: Folders at the head of each name that are left off.
    """
    with unpacking(entry.name), entry.open() as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for info in archive:
            name = info.name.removeprefix("./").split("/", skip)[-1]
            base = name.rsplit("/", 1)[-1]
            member = deeper(entry, name, base, lambda info=info: archive.extractfile(info))
            if info.isdir() or not within(name, only):
                continue
            if is_hidden(name, only):
                yield unseen(member.name, info.size)
            elif info.isreg():
                yield member
            else:
                yield Fault("link or device in an archive", member.name, 0, "collect the file that it points to")


def within(name: str, only: str) -> bool:
    """Whether a member is the one asked for, or lies in the folder asked for; all do where nothing was."""
    return not only or name == only or name.startswith(f"{only}/")


def is_hidden(name: str, only: str) -> bool:
    """Whether a member, or a folder above it, is hidden; what was asked for by its name is not."""
    return any(part.startswith(".") and part != "." for part in name.removeprefix(only).split("/"))


def unseen(where: str, size: int) -> Fault:
    """The fault of a hidden file or folder."""
    return Fault(HIDDEN, sayable(where), size, "name it as a source of its own, if it belongs to the data")


def seekable(entry: Entry) -> io.BufferedIOBase:
    """A stream that can go back: the file itself, or an unnamed copy of what was packed."""
    file = entry.open()
    if file.seekable():
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115
    with file:
        shutil.copyfileobj(file, copy, 1 << 20)
    copy.seek(0)
    return copy


UNPACKERS: Mapping[str, Callable[[Entry], Iterator[Entry | Fault]]] = {
    ".gz": unpack_gzip,
    ".tgz": unpack_gzip,
    ".xz": unpack_xz,
    ".zst": unpack_zstd,
    ".zip": unpack_zip,
    ".whl": unpack_zip,
    ".tar": unpack_tar,
    ".deb": unpack_deb,
}
"""How each kind of packed file is opened."""
