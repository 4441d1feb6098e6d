import bz2
import lzma

import numpy as np
import pytest

from makar.evaluate.compress import compress


def test_the_figures_are_those_of_the_joined_bytes():
    texts = ["The moon is up.", "Ünïcode — ok", "", "la " * 500]
    data = "".join(f"{text}\n" for text in texts).encode()
    found = compress(iter(texts))
    assert found.bytes == len(data)
    assert found.bzip2 == 8 * len(bz2.compress(data, 9)) / len(data)
    assert found.xz == 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data)


def test_noise_does_not_compress():
    noise = "".join(map(chr, np.random.default_rng(0).integers(32, 96, 20000)))  # 64 symbols: 6 bits
    assert compress([noise]).bzip2 == pytest.approx(6, abs=0.1)


def test_nothing():
    assert compress([]).bytes == 0
