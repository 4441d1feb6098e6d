import pytest

from makar.measure.text import distinct, lengths, plain_words


def test_plain_words():
    assert plain_words("The MOON—o’er 3 snake_case hills!") == ["the", "moon", "o'er", "3", "snake", "case", "hills"]


@pytest.mark.parametrize(("n", "share"), [(1, 3 / 6), (2, 4 / 5), (3, 4 / 4), (7, 0)])
def test_distinct_by_hand(n, share):
    assert distinct(["a b a b b c"], n) == share


def test_no_phrase_crosses_samples():
    assert distinct(["a b", "a b"], 2) == 1 / 2


def test_the_limit_makes_lengths_comparable():
    assert distinct(["a b c d", "a b c d"], 1) == 4 / 8
    assert distinct(["a b c d", "a b c d"], 1, limit=4) == 1
    assert distinct(["a b a a", "a"], 1, limit=2) == 1
    assert distinct([], 1) == 0


def test_lengths():
    found = lengths(["one two\n\nthree", "", "one"])
    assert (found.texts, found.empty, found.median_words, found.longest_words) == (3, 1, 1, 3)
    assert found.words == pytest.approx(4 / 3)
    assert found.lines == 1
    assert found.characters == pytest.approx((14 + 3) / 3)
    assert lengths([]).texts == lengths([]).empty == 0
