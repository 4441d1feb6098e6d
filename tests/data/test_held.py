import numpy as np
import pytest

from makar.data import held as module
from makar.data.held import Held, hold, overlap
from makar.data.minhash import shingles
from tests.data.corpora import verse

EMPTY = Held(np.zeros(0, np.uint64))
TEXTS = [verse(seed, lines=20) for seed in range(30)]


def plain(text, texts):
    """The share of a text's 5-grams that stand in some texts, by sets."""
    known = {gram for other in texts for gram in shingles([other])[0].tolist()}
    own = shingles([text])[0].tolist()
    return sum(gram in known for gram in own) / len(own)


def test_the_share_is_exact():
    held = hold(TEXTS[:10], EMPTY)
    mixed = [TEXTS[0], TEXTS[20], "\n".join(TEXTS[3].split("\n")[:7] + TEXTS[21].split("\n")[7:]), "moon", ""]
    assert overlap(mixed, held).tolist() == pytest.approx([plain(text, TEXTS[:10]) for text in mixed])
    assert overlap(mixed, held)[0] == 1
    assert 0.25 < overlap(mixed, held)[2] < 0.35
    assert overlap(mixed, EMPTY).tolist() == [0] * 5
    assert hold([], held) is held


def test_of_too_many_a_fair_sample_is_remembered(monkeypatch):
    """Forgetting is by hash: both sides forget the same, and the order in which they came does not matter."""
    monkeypatch.setattr(module, "ROOM", 300)
    held = hold(TEXTS[:10], hold(TEXTS[10:20], EMPTY))
    other = hold(TEXTS[10:20], hold(TEXTS[:10], EMPTY))
    assert len(held.grams) <= 300
    assert held.below < EMPTY.below
    assert (held.grams == other.grams).all()
    shares = overlap(TEXTS, held)
    assert (shares[:20] == 1).all()
    assert (shares[20:] == 0).all()


def test_it_is_saved_whole(tmp_path):
    held = hold(TEXTS, EMPTY)
    held.save(tmp_path / "held.npy")
    again = Held.load(tmp_path / "held.npy")
    assert (again.grams == held.grams).all()
    assert again.below == held.below
