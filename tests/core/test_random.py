import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.core.random import Rng, key_of, numpy_rng, philox

# From the Random123 distribution, kat_vectors: "philox4x32 10", counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def test_uniform_is_below_one_even_for_the_largest_word(monkeypatch):
    monkeypatch.setattr(Rng, "bits", lambda self, name, *shape: torch.full((1, *shape), 0xFFFFFFFF))
    assert Rng(0, 0, torch.zeros(1, dtype=torch.int64)).uniform("x", 2).tolist() == [[1 - 2.0**-24] * 2]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_numbers(counter, key, result):
    low, high = words(key)
    made = philox(tuple(torch.tensor([word]) for word in words(counter)), high << 32 | low)
    assert [int(word) for word in made] == words(result)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_philox_in_tensors_equals_philox_in_plain_integers(counter, key):
    a, b, c, d = counter, 1, 2, 3
    low, high = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (right >> 32) ^ b ^ low, right & 0xFFFFFFFF, (left >> 32) ^ d ^ high, left & 0xFFFFFFFF
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    made = philox(tuple(torch.tensor([word]) for word in (counter, 1, 2, 3)), key)
    assert [int(word) for word in made] == [a, b, c, d]


def rng(rows=64, seed=0, step=0, scope="") -> Rng:
    return Rng(seed, step, torch.arange(rows), scope)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.integers(1, 14), st.lists(st.integers(1, 5), max_size=2))
def test_a_row_keeps_its_numbers_wherever_the_batch_is_cut(start, count, shape):
    whole, part = rng(64), rng().at(torch.arange(start, start + count))
    for draw in (Rng.bits, Rng.uniform, Rng.normal):
        assert torch.equal(draw(whole, "x", *shape)[start : start + count], draw(part, "x", *shape))


def test_rows_beyond_32_bits_differ_from_those_below():
    far = Rng(0, 0, torch.tensor([1, 2**32 + 1]))
    one, other = far.uniform("x", 8)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "other",
    [rng(seed=1), rng(step=1), rng(scope="critic"), rng().within("critic"), rng().at(torch.arange(64, 128))],
    ids=["seed", "step", "scope", "within", "rows"],
)
def test_any_other_name_gives_other_numbers(other):
    one, two = rng().normal("x", 64).flatten(), other.normal("x", 64).flatten()
    assert torch.corrcoef(torch.stack((one, two)))[0, 1].abs() < 0.06  # 4 standard errors over 4,096 pairs
    assert torch.corrcoef(torch.stack((one, rng().normal("y", 64).flatten())))[0, 1].abs() < 0.06


def test_a_longer_draw_begins_like_a_shorter_one():
    assert torch.equal(rng().uniform("x", 10)[:, :4], rng().uniform("x", 4))


def test_moments():
    uniform, normal = rng(256).uniform("x", 512).double(), rng(256).normal("x", 512).double()
    count = uniform.numel()
    assert float(uniform.mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12 * count))
    assert float(uniform.var()) == pytest.approx(1 / 12, rel=0.02)
    assert uniform.min() > 0
    assert uniform.max() < 1
    assert float(normal.mean()) == pytest.approx(0, abs=4 / math.sqrt(count))
    assert float(normal.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / count))
    assert float((normal**3).mean()) == pytest.approx(0, abs=4 * math.sqrt(15 / count))
    assert float((normal**4).mean()) == pytest.approx(3, abs=4 * math.sqrt(96 / count))
    share = float((normal.abs() < 1.959964).double().mean())
    assert share == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / count))


def test_neighbours_within_a_row_are_independent():
    normal = rng(512).normal("x", 64)
    for lag in (1, 2, 3):
        pair = torch.stack((normal[:, :-lag].flatten(), normal[:, lag:].flatten()))
        assert torch.corrcoef(pair)[0, 1].abs() < 4 / math.sqrt(pair.shape[1])


def test_integers_are_even():
    found = rng(256).integers("x", 7, 128)
    counts = torch.bincount(found.flatten(), minlength=7).double()
    expected = found.numel() / 7
    assert found.min() == 0
    assert found.max() == 6
    assert float(((counts - expected) ** 2 / expected).sum()) < 22.5  # chi-square of 6 degrees, p = 0.001


def test_shapes_and_types():
    assert rng(3).normal("x").shape == (3,)
    assert rng(3).normal("x", 2, 5).shape == (3, 2, 5)
    assert rng(3).normal("x").dtype == rng(3).uniform("x").dtype == torch.float32
    assert rng(3).integers("x", 5, 2).dtype == torch.int64
    assert rng(0).normal("x", 4).shape == (0, 4)


def test_keys_are_the_same_in_every_process():
    assert key_of(1, "x") == 0xFDB208CF53CE0BA6
    assert key_of(1, "x") != key_of("1", "x")
    assert key_of(1, 23) != key_of(12, 3)
    assert numpy_rng(1, "x").integers(1 << 30) == numpy_rng(1, "x").integers(1 << 30)
    assert not np.array_equal(numpy_rng(1, "x").random(4), numpy_rng(1, "y").random(4))
