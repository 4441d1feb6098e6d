"""Verse in which a line is said again: all lines but one are its own, and that one is another of its own."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makar.data.ask_text import count_words
from makar.data.ask_verse import ask_echo, echoed
from makar.data.document import Document

POEM = """The moon is high and the night is long,
And the moon hath heard my song.

I walk beneath the moon and its light,
And the stars are out of sight,
The wind is still upon the hill,
And sleep till all is bright."""


@given(st.integers(4, 16), st.integers(0, 999), st.sets(st.integers(1, 15)))
def test_one_line_is_the_one_two_before_it(count, seed, stanzas):
    lines = [f"line {k}" for k in range(count)]
    parted = [each for k, line in enumerate(lines) for each in (["", line] if k in stanzas else [line])]
    made = echoed(parted, Random(seed))
    assert [not line for line in made] == [not line for line in parted], "stanzas are parted where they were"
    found = [line for line in made if line]
    (place,) = [k for k, line in enumerate(lines) if found[k] != line]
    assert found[place] == lines[place - 2]
    assert 2 <= place < count - 1, "the first two and the last stay"


@pytest.mark.parametrize("lines", [[], ["a"], ["a", "b"], ["a", "b", "c"], ["a", "", "b", "c"]])
def test_too_few_lines_stay_as_they_are(lines):
    assert echoed(lines, Random(0)) == lines


def test_a_poem_is_preferred_to_one_that_says_a_line_again():
    words = count_words([POEM, "The king of the land is dead.\nWe go.", "A rose is a rose."] * 3)
    poems = [Document(POEM, f"book#{number}/1", "book", "source") for number in range(9)]
    made = [pair for poem in poems for pair in ask_echo(poem, words)]
    assert len(made) == 9
    assert {pair["chosen"][0]["content"] for pair in made} == {POEM}
    assert "the moon" in made[0]["prompt"][0]["content"]
    spoilt = [pair["rejected"][0]["content"] for pair in made]
    assert POEM not in spoilt
    assert len({*spoilt}) == 3, "any of the lines between, by the poem's name"
    assert made == [pair for poem in poems for pair in ask_echo(poem, words)]


def test_a_refrain_is_no_fault():
    poem = "The moon, the moon.\nI sing.\nThe moon, the moon.\nThe moon is all."
    words = count_words([poem, "The king of the land is dead.\nWe go.", "A rose is a rose."] * 3)
    assert not list(ask_echo(Document(poem, "book#1/1", "book", "source"), words))
