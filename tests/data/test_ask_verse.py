"""Verse whose lines are in disorder: each line is whole, and none follows the one that it followed."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makar.data.ask_text import count_words
from makar.data.ask_verse import ask_line_disorder, between
from makar.data.document import Document

POEM = """The moon is high and the night is long,
And the moon hath heard my song.

I walk beneath the moon and its light,
And the stars are out of sight,
The wind is still upon the hill,
And sleep till all is bright."""


@given(st.integers(4, 16), st.integers(0, 999), st.sets(st.integers(1, 15)))
def test_lines_are_whole_and_none_follows_the_one_that_it_followed(count, seed, stanzas):
    lines = [f"line {k}" for k in range(count)]
    parted = [each for k, line in enumerate(lines) for each in (["", line] if k in stanzas else [line])]
    found = between(parted, Random(seed))
    assert [not line for line in found] == [not line for line in parted], "stanzas are parted where they were"
    found = [line for line in found if line]
    assert sorted(found) == sorted(lines)
    assert (found[0], found[-1]) == (lines[0], lines[-1])
    assert not {*pairwise(found)} & {*pairwise(lines)}


@pytest.mark.parametrize("lines", [[], ["a"], ["a", "b"], ["a", "b", "c"], ["a", "", "b", "c"]])
def test_too_few_lines_stay_as_they_are(lines):
    assert between(lines, Random(0)) == lines


def test_a_poem_is_preferred_to_its_lines_in_disorder():
    words = count_words([POEM, "The king of the land is dead.\nWe go.", "A rose is a rose."] * 3)
    poems = [Document(POEM, f"book#{number}/1", "book", "source") for number in range(9)]
    (first, *_), *others = made = [list(ask_line_disorder(poem, words)) for poem in poems]
    assert first["chosen"][0]["content"] == POEM
    assert "the moon" in first["prompt"][0]["content"]
    spoilt = first["rejected"][0]["content"]
    assert sorted(spoilt.split("\n")) == sorted(POEM.split("\n"))
    assert spoilt != POEM
    assert {pair["rejected"][0]["content"] for (pair,) in others} != {spoilt}, "each poem in a way of its own"
    assert made == [list(ask_line_disorder(poem, words)) for poem in poems]
