"""Words in PNG files, and every byte that changes."""

import struct
import zlib

import pytest
from PIL import Image

from makar.codecs.png import chunks, encoded, texts_of

PICTURE = Image.new("L", (4, 4), 7)
TEXTS = {"makar": '[{"seed": 1}]', "more": "Mond über dem Meer, 月"}


def test_words_come_back_whatever_letters_they_have():
    assert texts_of(encoded(PICTURE, TEXTS)) == TEXTS


def test_words_that_others_wrote_compressed_are_read_up_to_a_limit():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    data = encoded(PICTURE, {})
    packed = chunk(b"zTXt", b"key\0\0" + zlib.compress(b"word"))
    much = zlib.compress(bytes(1 << 25))
    bombs = chunk(b"iTXt", b"bomb\0\1\0\0\0" + much) + chunk(b"zTXt", b"another\0\0" + much)
    found = texts_of(data[:33] + packed + bombs + data[33:])
    assert found["key"] == "word"
    assert sum(map(len, found.values())) == 1 << 24


def test_every_flipped_bit_is_noticed():
    data = encoded(PICTURE, TEXTS)
    assert [kind for kind, _ in chunks(data)][-1] == b"IEND"
    for place in range(len(data)):
        for bit in (1, 128):
            with pytest.raises(ValueError, match=r"checksum|begin|reaches|ends|behind"):
                list(chunks(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]))


@pytest.mark.parametrize("cut", [0, 7, 20, 60, -1])
def test_a_cut_file_is_noticed_and_what_stands_before_is_read(cut):
    data = encoded(PICTURE, TEXTS)
    with pytest.raises(ValueError, match=r"begin|reaches|ends"):
        list(chunks(data[:cut]))
    assert set(texts_of(data[:cut])) <= set(TEXTS)
    with pytest.raises(ValueError, match="3 bytes stand behind"):
        list(chunks(data + b"abc"))
