"""ROUGE-L beside its definition: the longest of all common subsequences, found by trying."""

from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makar.measure.rouge import Rouge, common_subsequence, rouge_l

WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


def longest(one, other):
    """By the recursion that defines it."""

    @lru_cache(None)
    def of(i, j):
        if i == len(one) or j == len(other):
            return 0
        if one[i] == other[j]:
            return 1 + of(i + 1, j + 1)
        return max(of(i + 1, j), of(i, j + 1))

    return of(0, 0)


@given(WORDS, WORDS)
def test_the_bits_find_the_longest_common_subsequence(one, other):
    assert common_subsequence(one, other) == longest(tuple(one), tuple(other))


@given(st.lists(st.sampled_from(["the", "Moon's", "x2", "é", "--", "3.5"]), max_size=70))
def test_a_text_is_all_of_itself_and_nothing_of_another(words):
    text = " ".join(words)
    same = float(any(character.isascii() and character.isalnum() for character in text))
    assert rouge_l(text, text) == Rouge(same, same, same)
    assert rouge_l(text, "qq") == rouge_l("", text) == Rouge(0.0, 0.0, 0.0)


def test_the_paper_s_own_example():
    """Lin 2004, section 3.1: S1, S2 and S3."""
    real = "police killed the gunman"
    assert rouge_l("police kill the gunman", real) == Rouge(3 / 4, 3 / 4, 3 / 4)
    assert rouge_l("the gunman kill police", real) == Rouge(2 / 4, 2 / 4, 2 / 4)


def test_precision_and_recall_know_whose_words_are_too_many():
    found = rouge_l("The moon is up, and the sea is still.", "the moon, the sea")
    assert (found.precision, found.recall) == (4 / 9, 1.0)
    assert found.f1 == pytest.approx(2 * 4 / (9 + 4))


def test_long_texts_take_no_table():
    assert common_subsequence(["a", "b"] * 5000, ["b", "a"] * 5000) == 9999
