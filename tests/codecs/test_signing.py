"""Signatures over pictures: what they say, and what they notice."""

import stat
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from makar.codecs import signing
from makar.codecs.png import MANIFEST, chunks, encoded
from makar.core.errors import ResourceError

pytest.importorskip("c2pa")

SAID = {"rows": [{"prompt": "cat", "seed": 3}], "weights": "ab" * 32}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MAKAR_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def picture(value=7):
    return encoded(Image.new("L", (4, 4), value), {"makar": "[]"})


def joined(parts):
    """A file of chunks, with checksums that fit."""
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_the_key_is_made_once_and_nobody_else_reads_it(home):
    first = signing.signed(picture(), SAID)
    key = (home / signing.KEY_FILE).read_bytes()
    assert stat.S_IMODE((home / signing.KEY_FILE).stat().st_mode) == 0o600
    signing.signed(picture(), SAID)
    assert (home / signing.KEY_FILE).read_bytes() == key
    found = signing.signature_of(first)
    assert (found.state, found.said, found.faults) == ("signed here", SAID, ())
    assert "self-signed" in str(found.by)


def test_of_several_first_uses_at_once_one_makes_the_key(home, monkeypatch):
    made, plain = [], signing.fresh

    def slowly():
        made.append(plain())
        time.sleep(0.03)
        return made[-1]

    monkeypatch.setattr(signing, "fresh", slowly)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(signing.credentials, [home, home]))
    assert found == made * 2


def test_pixels_and_words_that_changed_are_noticed_though_checksums_fit(home):
    parts = list(chunks(signing.signed(picture(), SAID)))
    assert signing.signature_of(joined(parts)).state == "signed here"
    other = dict(chunks(picture(8)))
    changes = {
        b"IDAT": other[b"IDAT"],
        b"tEXt": b"makar\0[1]",
        MANIFEST: dict(parts)[MANIFEST].replace(b"cat", b"dog"),
    }
    for kind, data in changes.items():
        assert dict(parts)[kind] != data
        changed = [(each, data if each == kind else old) for each, old in parts]
        found = signing.signature_of(joined(changed))
        assert found.state == "broken"
        assert found.faults
    unreadable = dict(parts)[MANIFEST].replace(b"drows", b"frows")  # a word that is longer than itself
    found = signing.signature_of(joined([(each, unreadable if each == MANIFEST else old) for each, old in parts]))
    assert (found.state, found.faults) == ("broken", ("manifest.unreadable",))
    moved = [part for part in list(chunks(picture(8))) if part[0] != b"IEND"]
    borrowed = joined([moved[0], (MANIFEST, dict(parts)[MANIFEST]), *moved[1:], (b"IEND", b"")])
    assert signing.signature_of(borrowed).state == "broken"


def test_who_has_another_key_says_that_somebody_else_signed(home, monkeypatch, tmp_path):
    data = signing.signed(picture(), SAID)
    monkeypatch.setenv("MAKAR_CONFIG", str(tmp_path / "other"))
    assert signing.signature_of(data).state == "signed elsewhere"
    signing.signed(picture(), SAID)
    assert signing.signature_of(data).state == "signed elsewhere"
    assert signing.signature_of(picture()).state == "none"


def test_no_place_for_a_key_and_a_damaged_one_are_said(home, monkeypatch, tmp_path):
    signing.signed(picture(), SAID)
    (home / signing.KEY_FILE).write_text("no key")
    with pytest.raises(ResourceError, match="cannot be signed"):
        signing.signed(picture(), SAID)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAKAR_CONFIG", str(tmp_path / "file"))
    with pytest.raises(ResourceError, match="a file is where a folder should be"):
        signing.signed(picture(), SAID)


def test_the_place_of_the_key_is_the_systems(monkeypatch, tmp_path):
    monkeypatch.delenv("MAKAR_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert signing.home() == tmp_path / "makar"
