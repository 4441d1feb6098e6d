import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from makar.data.fim import Sentinels, arrange, cut, fill_in_middle

MARKS = Sentinels(prefix=-1, middle=-2, suffix=-3)
DOCUMENTS = [f"document {number} says π = 3.14 and no more than {number * 7}" for number in range(400)]


def encode(texts):
    return [[ord(c) for c in text] for text in texts]


def restore(ids):
    """The original text of an encoded document, and the form it was in."""
    if MARKS.prefix not in ids:
        return "plain", "".join(map(chr, ids))
    suffix, middle = ids.index(MARKS.suffix), ids.index(MARKS.middle)
    prefix = ids[1:suffix]
    tail = ids[suffix + 1 : middle]
    return "suffix first" if not prefix else "prefix first", "".join(map(chr, [*prefix, *ids[middle + 1 :], *tail]))


@given(st.text(max_size=30), st.integers(0, 1000))
def test_a_cut_loses_nothing(text, seed):
    assert "".join(cut(text, np.random.default_rng(seed))) == text


def test_cuts_are_uniform_over_the_places_between_characters():
    rng = np.random.default_rng(0)
    counts = np.zeros((4, 4))
    for _ in range(8000):
        prefix, middle, suffix = cut("abc", rng)
        counts[len(prefix), len(prefix + middle)] += 1
    expected = np.triu(np.full((4, 4), 2.0), 1) + np.eye(4)  # two independent places, sorted
    assert np.abs(counts / 8000 - expected / 16).max() < 0.015


def test_both_forms_are_the_papers():
    assert arrange([1], [2], [3], MARKS, suffix_first=False) == [-1, 1, -3, 3, -2, 2]
    assert arrange([1], [2], [3], MARKS, suffix_first=True) == [-1, -3, 3, -2, 1, 2]


@given(st.lists(st.text(max_size=30), max_size=8), st.integers(0, 50))
def test_every_document_can_be_restored(texts, seed):
    rows = fill_in_middle(encode, MARKS, seed, rate=0.8)(texts)
    assert [restore(row)[1] for row in rows] == texts


def test_half_of_the_documents_are_reordered_half_of_these_suffix_first():
    forms = [restore(row)[0] for row in fill_in_middle(encode, MARKS, 3)(DOCUMENTS)]
    assert forms.count("plain") == pytest.approx(200, abs=30)
    assert forms.count("suffix first") == pytest.approx(100, abs=27)
    for rate, plain in ((0.0, 400), (1.0, 0)):
        rows = fill_in_middle(encode, MARKS, 3, rate=rate)(DOCUMENTS)
        assert sum(restore(row)[0] == "plain" for row in rows) == plain


def test_a_document_comes_out_the_same_whatever_surrounds_it():
    wrapped = fill_in_middle(encode, MARKS, 5)
    whole = wrapped(DOCUMENTS)
    assert [row for text in DOCUMENTS for row in wrapped([text])] == whole
    assert wrapped(DOCUMENTS[::-1]) == whole[::-1]
    assert fill_in_middle(encode, MARKS, 6)(DOCUMENTS) != whole


def test_opener_and_closer_stay_outside():
    for row in fill_in_middle(encode, MARKS, 1, opener=[7], closer=[8, 9])(DOCUMENTS):
        assert row[0] == 7
        assert row[-2:] == [8, 9]
        assert {7, 8, 9}.isdisjoint(row[1:-2])
