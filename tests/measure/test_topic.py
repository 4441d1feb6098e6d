"""What a wish asks for, whether a text holds it, and which words keep a word company."""

import math
from collections import Counter

import numpy as np
import pytest

from makar.core.random import numpy_rng
from makar.data.ask_text import POEM_REQUESTS, Words
from makar.measure.topic import NEAR, asked_for, company, holds, inflections, likelihood_ratio


@pytest.mark.parametrize("form", sorted(set(POEM_REQUESTS)))
@pytest.mark.parametrize("thing", ["the moon", "a moon", "moon", "Moon", "my moon"])
def test_every_wish_for_a_poem_names_its_word(form, thing):
    assert asked_for(form.format(thing), POEM_REQUESTS) == "moon"
    assert asked_for(f"  {form.format(thing).upper()} ", POEM_REQUESTS) == "moon"


def test_what_named_makes_of_a_noun_is_read_again():
    words = Words(count=Counter(["night", "owl", "love"]), the=Counter(["night"]), a=Counter(["owl"]))
    for noun in ("night", "owl", "love"):
        assert asked_for(POEM_REQUESTS[0].format(words.named(noun)), POEM_REQUESTS) == noun


@pytest.mark.parametrize(
    "wish",
    ["", "What is 2 + 2?", "Write a poem about the sea at night.", "Write a poem about .", "Write a poem", "moon",
     "Write a poem about 1984.", "Can you write a poem on the theme of"],
)  # fmt: skip
def test_what_is_no_wish_for_one_word_names_none(wish):
    assert asked_for(wish, POEM_REQUESTS) is None


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("moon", "moon moons moon's mooned"),
        ("moons", "moon moons"),
        ("star", "star stars starred"),
        ("love", "love loves loved loving loveth lovest love's"),
        ("city", "city cities city's"),
        ("cities", "city cities"),
        ("day", "day days"),
        ("leaf", "leaf leaves"),
        ("leaves", "leaf leaves"),
        ("life", "life lives life's"),
        ("kiss", "kiss kisses kissed"),
        ("kisses", "kiss kisses"),
        ("child", "child children child's children's"),
        ("children", "child children"),
        ("woman", "women women's"),
        ("rain", "rain rains raining rained"),
        ("sky", "sky skies skying"),
    ],
)
def test_a_word_counts_in_every_form(word, forms):
    found = inflections(word)
    assert set(forms.split()) - found == set()
    assert all(holds(f"O {form.upper()}, shine!", found) for form in forms.split())


@pytest.mark.parametrize(
    ("word", "other"),
    [("star", "stare"), ("star", "stares"), ("star", "staring"), ("sun", "sunk"), ("moon", "moo"), ("sea", "season"),
     ("king", "kin"), ("rose", "rise"), ("heart", "hearth"), ("kiss", "kis"), ("man", "mane")],
)  # fmt: skip
def test_a_word_is_no_other_word(word, other):
    assert not holds(f"the {other}, {other}.", inflections(word))


def corpus():
    """Texts about the sea hold its words, others hold others, and some words stand everywhere or once."""
    rng = numpy_rng(0, "company")
    texts = []
    for number in range(200):
        kind = ["the sea wave sail tide", "the hill sheep grass lamb"][number % 2]
        texts.append(" ".join([*rng.permutation(kind.split() + ["day", f"once{number}"])]))
    return texts


def test_company_is_what_stands_with_a_word_and_not_what_stands_everywhere():
    found = company(["sea", "sheep", "dragon"], corpus(), {"the"})
    assert found == {"sea": {"wave", "sail", "tide"}, "sheep": {"hill", "grass", "lamb"}, "dragon": frozenset()}
    assert company(["sea"], iter(corpus()), {"the"}) == company(["sea"], corpus(), {"the"})
    assert company([], corpus(), set()) == company([], [], set()) == {}


def test_a_form_of_the_word_is_no_company_and_counts_as_the_word():
    texts = ["seas wave"] * 6 + ["sea wave"] * 6 + ["hill grass"] * 12
    assert company(["sea"], texts, set()) == {"sea": {"wave"}}


def test_company_is_not_without_end():
    texts = [" ".join(["sea", *(f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")])] * 9 + ["hill"] * 9
    assert len(company(["sea"], texts, set())["sea"]) == NEAR


def test_the_ratio_is_twice_the_total_s_mutual_information():
    rng = np.random.default_rng(0)
    for a, b, c, d in rng.integers(0, 30, (50, 4)):
        total = int(a + b + c + d)
        if not total or 0 in (a + b, a + c, c + d, b + d):
            continue
        table = {(0, 0): a, (0, 1): b, (1, 0): c, (1, 1): d}
        expected = sum(
            2 * n * math.log(n * total / ((table[i, 0] + table[i, 1]) * (table[0, j] + table[1, j])))
            for (i, j), n in table.items()
            if n
        )
        found = likelihood_ratio(np.array([float(a)]), float(a + b), np.array([float(a + c)]), float(total))
        assert found[0] == pytest.approx(expected, abs=1e-9)
