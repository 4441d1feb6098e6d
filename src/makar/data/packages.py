"""Packages as sources, brought by the user's own clients: pip, npm, apt-get; kept in a cache with hash and licence.

Nothing in a package is run: wheels alone of PyPI, no scripts of npm, and a .deb is read and not installed.
"""

import email.parser
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from makar.core.errors import SourceError
from makar.core.files import folder_atomic, read_json, sha256, write_json
from makar.data.archives import Entry, on_disk, unpack_deb, unpack_gzip, unpack_tar, unpack_zip
from makar.data.document import Fault


@dataclass(frozen=True)
class Client:
    """How packages of one kind come to this machine.

    Args:
        pattern: Name, version and path inside; what its groups hold.
        form: How a source is written, for people.
        command: What downloads a requirement into the folder that it runs in.
        suffix: Of the archive that then lies there.
        requirement: From name and version, as the client takes it.
        licence: What the archive declares.
        members: What the archive holds, or one file or folder of it.
    """

    pattern: re.Pattern[str]
    form: str
    command: tuple[str, ...]
    suffix: str
    requirement: Callable[[str, str | None], str]
    licence: Callable[[Path], str]
    members: Callable[[Entry, str], Iterator[Entry | Fault]]

    @property
    def tool(self) -> str:
        """What people call it, less its flags."""
        words = [word for word in self.command if not word.startswith("-")]
        return " ".join(words[1:] if words[0] == sys.executable else words)


@dataclass(frozen=True)
class Package:
    """A package that lies on this machine.

    Args:
        path: The archive.
        inside: What to read of it; empty for all.
        sha256: Of the archive.
        licence: As it declares it.
    """

    path: Path
    inside: str
    sha256: str
    licence: str


def client_of(name: str) -> Client | None:
    """The client that brings a source of this name, if it is a package."""
    return CLIENTS.get(name.partition(":")[0]) if ":" in name else None


def fetch_package(name: str) -> Package:
    """Bring a package here, or find it in the cache.

    Args:
        name: `pypi:NAME==VERSION`, `npm:NAME@VERSION` or `deb:NAME`, with `/path` inside the archive or without.

    Raises:
        SourceError: It is written otherwise, the client is not installed, or could not bring it.
    """
    kind, client, match, folder = place_of(name)
    if not intact(folder):
        download(kind, client, client.requirement(match[1], match[2]), folder)
    record = read_json(folder / "record.json")
    inside = (match[3] or "").strip("/")
    return Package(folder / record["file"], inside, record["sha256"], record["licence"])


def place_of(name: str) -> tuple[str, Client, re.Match[str], Path]:
    """What a package's name says: its kind, the client, name with version and path inside, and where the cache has it.

    Raises:
        SourceError: It is written otherwise.
    """
    kind = name.partition(":")[0]
    client = CLIENTS[kind]
    match = client.pattern.fullmatch(name)
    if match is None or ".." in (match[3] or "").split("/"):
        raise SourceError("not a package source", value=name, fix=f"write {client.form} or {client.form}/path")
    return kind, client, match, cache() / kind / "-".join(filter(None, (match[1].lower().replace("/", "+"), match[2])))


def bytes_of(name: str) -> int:
    """The size of a package's archive; 0 until it lies in the cache."""
    folder = place_of(name)[3]
    return sum(path.stat().st_size for path in folder.glob(f"*{place_of(name)[1].suffix}"))


def members(path: Path, name: str, inside: str) -> Iterator[Entry | Fault]:
    """What a package's archive holds, or one file or folder of it.

    Raises:
        SourceError: It has nothing under that path.
    """
    client = client_of(name)
    assert client is not None
    found = False
    for entry in client.members(on_disk(path, name.removesuffix(f"/{inside}") if inside else name), inside):
        found = True
        yield entry
    if not found:
        what = "the archive has no such path" if inside else "the package is empty"
        fix = "name one of its files or folders, or the package alone"
        raise SourceError(what, where=name, value=inside, fix=f"{fix}: it lies at {path}")


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


def download(kind: str, client: Client, requirement: str, folder: Path) -> None:
    """Have a client download one package into a cache folder."""
    with folder_atomic(folder) as beside:
        where, plain = f"{kind}:{requirement}", f"{client.tool} {requirement}"
        try:
            done = subprocess.run(
                [*client.command, requirement], cwd=beside, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            fix = f"install it, or bring the {client.suffix} file yourself and name that"
            raise SourceError(f"{client.command[0]} is not installed", where=where, fix=fix) from None
        found = sorted(beside.glob(f"*{client.suffix}"))
        if done.returncode or not found:
            said = [re.sub(r"^(ERROR:|E:|npm error) ", "", line) for line in done.stderr.splitlines() if FAULT(line)]
            raise SourceError(
                f"{client.tool.split()[0]} could not download it: "
                f"{said[0] if said else done.stderr.strip()[-300:] or f'no {client.suffix} file'}",
                where=where,
                fix=f"check the network, the name, the version, and what `{plain}` says",
            )
        archive = found[0]
        record = {"file": archive.name, "sha256": sha256(archive), "licence": client.licence(archive)}
        write_json(beside / "record.json", record)


FAULT = re.compile(r"ERROR|^E: |^npm error (?!A complete log|code|  )").search
"""Which lines of a client's say why it failed."""


def licence_of_wheel(wheel: Path) -> str:
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


def licence_of_npm(archive: Path) -> str:
    """The licence that an npm package's package.json declares."""
    for text in texts_of(unpack_npm(on_disk(archive, archive.name), "package.json")):
        try:
            declared = json.loads(text)["license"]
        except (ValueError, KeyError, TypeError):
            break
        return str(declared.get("type", declared) if isinstance(declared, dict) else declared)
    return "not declared"


def licence_of_deb(archive: Path) -> str:
    """The licences that a Debian package's copyright file declares for its files, less those for its packaging."""
    package = archive.name.partition("_")[0]
    for text in texts_of(unpack_files(on_disk(archive, archive.name), f"usr/share/doc/{package}/copyright")):
        found: dict[str, None] = {}
        for stanza in re.split(r"\n\s*\n", text):
            files = re.search(r"^Files: *(.*)$", stanza, re.MULTILINE)
            licence = re.search(r"^License: *(.+)$", stanza, re.MULTILINE)
            if files and licence and not files[1].startswith("debian/"):
                found[licence[1].strip()] = None
        return "; ".join(found) or f"see usr/share/doc/{package}/copyright in the package"
    return "not declared"


def texts_of(entries: Iterator[Entry | Fault]) -> Iterator[str]:
    """The texts of small files."""
    for entry in entries:
        if isinstance(entry, Entry):
            with entry.open() as file:
                yield file.read(1 << 20).decode("utf-8", "replace")


def unpack_npm(entry: Entry, only: str) -> Iterator[Entry | Fault]:
    """What an npm package holds, less the folder that all of it lies in."""
    for tar in unpack_gzip(entry):
        yield from unpack_tar(tar, only, skip=1)


def unpack_files(entry: Entry, only: str) -> Iterator[Entry | Fault]:
    """The files that a Debian package installs."""
    for tar in unpack_deb(entry):
        yield from unpack_tar(tar, only)


NAME, INSIDE = r"[A-Za-z0-9][A-Za-z0-9._-]*", r"(?:/(.+))?"

CLIENTS: Mapping[str, Client] = {
    "pypi": Client(
        re.compile(rf"pypi:({NAME})==([A-Za-z0-9][A-Za-z0-9._+!-]*){INSIDE}"),
        "pypi:NAME==VERSION",
        (
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet",
            "--disable-pip-version-check",
        ),
        ".whl",
        lambda name, version: f"{name}=={version}",
        licence_of_wheel,
        unpack_zip,
    ),
    "npm": Client(
        re.compile(rf"npm:((?:@{NAME}/)?{NAME})@([0-9][A-Za-z0-9.+-]*){INSIDE}"),
        "npm:NAME@VERSION",
        ("npm", "pack", "--ignore-scripts", "--loglevel=error"),
        ".tgz",
        lambda name, version: f"{name}@{version}",
        licence_of_npm,
        unpack_npm,
    ),
    "deb": Client(
        re.compile(rf"deb:([a-z0-9][a-z0-9.+-]+)(?:=([A-Za-z0-9][A-Za-z0-9.+~:-]*))?{INSIDE}"),
        "deb:NAME",
        ("apt-get", "download", "--quiet"),
        ".deb",
        lambda name, version: f"{name}={version}" if version else name,
        licence_of_deb,
        unpack_files,
    ),
}  # fmt: skip
"""Whose packages are sources. A Debian package without a version is what this machine's lists offer."""
