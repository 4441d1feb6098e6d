import contextlib
import gzip
import io
import os
import tarfile
import zipfile

import pytest
import zstandard

from makar.core.errors import InputError, UserError
from makar.data import archives
from makar.data.archives import on_disk
from makar.data.document import Fault
from makar.data.read import read
from tests.data.corpora import verse


def texts(path):
    return [document.text for document in read(on_disk(path, path.name), path.name)]


def tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_the_same_text_comes_out_of_every_packing(tmp_path):
    text = verse(0, lines=200)
    data = text.encode()
    frames = zstandard.compress(data[:1000]) + zstandard.compress(data[1000:])
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(data))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(data[:99]) + gzip.compress(data[99:]))
    (tmp_path / "a.txt.zst").write_bytes(frames)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/a.txt", data)
    tar(tmp_path / "a.tar", {"x/a.txt": data})
    tar(tmp_path / "a.tar.gz", {"x/a.txt.gz": gzip.compress(data)}, "w:gz")
    tar(tmp_path / "a.tgz", {"x/a.zip": (tmp_path / "a.zip").read_bytes()}, "w:gz")
    (tmp_path / "a.tar.zst").write_bytes(zstandard.compress((tmp_path / "a.tar").read_bytes()))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 9
    for path in files:
        assert texts(path) == [text], path.name


@pytest.mark.parametrize("cut", [1, 8, 100, -1])
@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_truncated_file_is_an_error(tmp_path, suffix, cut):
    data = os.urandom(5000).hex().encode()
    whole = gzip.compress(data) if suffix == "gz" else zstandard.ZstdCompressor(write_checksum=True).compress(data)
    path = tmp_path / f"a.txt.{suffix}"
    path.write_bytes(whole[: len(whole) - cut] if cut > 0 else whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated or damaged") as caught:
        texts(path)
    assert "a.txt" in str(caught.value)


def test_a_flipped_byte_in_a_zip_is_an_error(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", verse(1))
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="truncated or damaged"):
        texts(path)


def test_a_flipped_bit_anywhere_is_an_error_or_does_no_harm(tmp_path):
    """Names, methods and lengths as well, whatever the library behind raises over them."""
    path = tmp_path / "a.zip"
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("é.txt", "The moon\n")
        whole = path.read_bytes()
        for place in range(len(whole)):
            data = bytearray(whole)
            data[place] ^= 0x80
            path.write_bytes(data)
            with contextlib.suppress(UserError):
                list(read(on_disk(path, "a.zip"), "a.zip"))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.txt.zst", "a.parquet"])
def test_what_is_not_what_its_suffix_says_is_an_error(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"this is not an archive at all, only some text" * 30)
    with pytest.raises(InputError):
        texts(path)


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def small(monkeypatch):
    """A budget small enough for tests: 1 MiB are free."""
    monkeypatch.setattr(archives, "FREE", 1 << 20)


def test_bombs_are_refused_while_they_unpack(tmp_path, small):
    zeros = b"a" * (16 << 20)
    gz = tmp_path / "a.txt.gz"
    gz.write_bytes(gzip.compress(zeros))
    zst = tmp_path / "a.txt.zst"
    zst.write_bytes(zstandard.compress(zeros))
    one = zipped(tmp_path / "one.zip", {"a.txt": zeros})
    many = zipped(tmp_path / "many.zip", {f"{n}.txt": zeros[: 1 << 19] for n in range(32)})
    twice = zipped(tmp_path / "twice.zip", {"a.txt.gz": gz.read_bytes()})
    for path in (gz, zst, one, many, twice):
        with pytest.raises(InputError, match="decompression bomb"):
            texts(path)


def test_a_sparse_tar_is_a_bomb_too(tmp_path, small):
    """A tar member may claim zeros that the file does not hold."""
    info = tarfile.TarInfo("a.txt")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT)[:512])
    header[483:495] = b"%011o\0" % (64 << 20)  # the real size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(InputError, match="decompression bomb"):
        [piece for entry in archives.unpack_tar(on_disk(path, "a.tar")) for piece in iter(entry.open().read1, b"")]


def test_honest_text_is_within_the_budget(tmp_path, small):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("\n\n".join([verse(seed) for seed in range(250)] * 10).encode(), 9))
    assert sum(map(len, texts(path))) > 1 << 20


@pytest.mark.parametrize("name", ["../a.txt", "/etc/a.txt", "x/../../a.txt", "..\\a.txt", "C:/a.txt"])
def test_a_path_outside_the_archive_is_refused(tmp_path, name):
    for path in (zipped(tmp_path / "a.zip", {name: b"hello"}), tar(tmp_path / "a.tar", {name: b"hello"})):
        with pytest.raises(InputError, match="outside the archive"):
            texts(path)


def test_links_in_a_tar_are_counted_and_not_followed(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("passwords.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (fault,) = read(on_disk(path, "a.tar"), "a.tar")
    assert fault.reason == "link or device in an archive"


def test_what_is_hidden_in_an_archive_is_counted_unless_it_was_asked_for(tmp_path):
    members = {"a.txt": b"hello", ".b.txt": b"hidden", "x/.git/c.txt": b"too"}
    zips, tars = zipped(tmp_path / "a.zip", members), tar(tmp_path / "a.tar", members)
    for path, unpack in ((zips, archives.unpack_zip), (tars, archives.unpack_tar)):
        first, *others = read(on_disk(path, "a"), "a")
        assert first.text == "hello"
        assert [(item.where, item.reason, item.bytes) for item in others] == [
            ("a/.b.txt", "hidden", 6),
            ("a/x/.git/c.txt", "hidden", 3),
        ]
        assert [entry.name for entry in unpack(on_disk(path, "a"), "x/.git")] == ["a/x/.git/c.txt"]
        assert [entry.name for entry in unpack(on_disk(path, "a"), ".b.txt") if not isinstance(entry, Fault)]


def test_an_encrypted_zip_is_an_error(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.txt": b"hello"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="encrypted"):
        texts(path)


def test_packing_within_packing_ends(tmp_path):
    data = b"hello"
    for _ in range(archives.DEPTH + 1):
        data = gzip.compress(data)
    path = tmp_path / ("a.txt" + ".gz" * (archives.DEPTH + 1))
    path.write_bytes(data)
    with pytest.raises(InputError, match="packed more than 3 times"):
        texts(path)
