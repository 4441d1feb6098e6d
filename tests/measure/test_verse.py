import pytest

from makar.measure.pronounce import words
from makar.measure.verse import METERS, meters, meters_of, rhyme, rhymes_of, shuffled, verse

SONNET_18 = """\
Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
So long as men can breathe or eyes can see,
So long lives this, and this gives life to thee."""

LIMERICK = """\
There was an old man with a beard,
Who said, "It is just as I feared!
Two owls and a hen,
Four larks and a wren,
Have all built their nests in my beard!\""""

PROSE = """\
The function returns a list of the names that
are defined in the module and of every attribute
whose value can be reached from the current
scope without importing another package. If the
argument is missing, the interpreter raises an
exception, and the caller is expected to handle
the condition before it continues with the next
instruction of the program."""


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("day", "may", "perfect"),
        ("dimm'd", "untrimm'd", "perfect"),
        ("ow'st", "grow'st", "perfect"),
        ("light", "flight", "perfect"),
        ("glory", "story", "perfect"),
        ("roses", "poses", "perfect"),
        ("wind", "find", "perfect"),  # the verb's pronunciation
        ("day", "day", None),
        ("sea", "see", None),  # they sound alike
        ("leave", "believe", None),  # the same onset
        ("trimm'd", "untrimm'd", None),
        ("day", "date", None),
        ("moon", "man", None),
        ("table", "able", "perfect"),
        ("tir'd", "expired", "perfect"),
        ("flow'r", "our", "perfect"),
        ("blorf", "snorf", "guessed"),
        ("blorf", "blarf", None),
        ("1914", "1915", None),
    ],
)
def test_rhymes(one, other, kind):
    assert rhyme(one, other) == rhyme(other, one) == kind


def test_sonnet_18():
    sonnet = verse([SONNET_18])
    assert sonnet.lines == 14
    assert sonnet.rhymed == 12 / 14  # all but "temperate" with "date", a rhyme on a promoted syllable
    assert sonnet.alternating == 10 / 14
    assert sonnet.couplet == 2 / 14
    assert sonnet.metrical == 13 / 14  # all but "sometime" stressed on its second syllable
    assert list(sonnet.meters) == ["iambic pentameter"]
    assert sonnet.syllables == pytest.approx(10, abs=0.1)
    assert sonnet.spread < 0.1
    assert sonnet.unknown_words == sonnet.spelled_words == 0


def test_shuffled_words_and_prose_score_lower():
    real, mixed, prose = verse([SONNET_18] * 20), verse(shuffled([SONNET_18] * 20, seed=1)), verse([PROSE])
    assert sorted(shuffled([SONNET_18], 1)[0].split()) == sorted(SONNET_18.split())
    assert shuffled([SONNET_18], 1) == shuffled([SONNET_18], 1) != shuffled([SONNET_18], 2)
    for lower in (mixed, prose):
        assert lower.rhymed < 0.35 < real.rhymed
        assert lower.metrical < 0.6 < real.metrical
        assert lower.spread > 3 * real.spread
    assert prose.rhymed == 0


def test_limerick():
    limerick = verse([LIMERICK])
    assert limerick.couplet == 4 / 5  # beard, feared; hen, wren; the last line comes back to its own first word
    assert limerick.rhymed == 1  # "beard" rhymes with "feared" three lines above
    assert limerick.meters == {"anapaestic trimeter": 3, "anapaestic dimeter": 2}
    assert limerick.metrical == 1


@pytest.mark.parametrize(
    ("line", "meter"),
    [
        ("Because I could not stop for Death", ("iambic", "tetrameter")),
        ("Tyger Tyger, burning bright", ("trochaic", "tetrameter")),
        ("The Assyrian came down like the wolf on the fold", ("anapaestic", "tetrameter")),
        ("This is the forest primeval. The murmuring pines and the hemlocks", ("dactylic", "hexameter")),
        ("Glorious power of heaven, every flower", ("iambic", "pentameter")),
        ("And yet thou wilt; for I, being pent in thee", ("iambic", "pentameter")),
    ],
)
def test_lines_of_known_meter(line, meter):
    assert meter in meters(tuple(words(line)))


def test_a_stress_in_a_weak_place_is_no_meter():
    assert ("iambic", "tetrameter") in meters(tuple(words("upon the hill beside the sea")))
    assert ("iambic", "tetrameter") not in meters(tuple(words("the upon hill the sea beside")))
    assert meters(("in", "1914")) == frozenset()


def test_the_meters_differ_in_length_and_are_all_there():
    assert ("iambic", "pentameter") in METERS["ws" * 5]
    assert ("iambic", "pentameter") in METERS["sw" + "ws" * 4 + "w"]
    assert len({meter for allowed in METERS.values() for meter in allowed}) == 4 * 6


def test_a_poem_keeps_to_one_foot_and_two_counts():
    ballad = [words(line) for line in ["it is an ancient mariner", "and he has stopped a man"] * 2]
    assert [meter[1] for meter in meters_of(ballad)] == ["tetrameter", "trimeter"] * 2


def test_a_second_count_must_fit_a_fourth_of_the_lines():
    lines = [words(line) for line in ["it is an ancient mariner"] * 7 + ["and he has stopped a man"]]
    assert meters_of(lines) == [("iambic", "tetrameter")] * 7 + [None]
    assert meters_of(lines[4:])[-1] == ("iambic", "trimeter")


def test_a_line_counts_once_however_often_it_rhymes():
    counts = rhymes_of([["day"], ["may"], ["say"], ["1"], ["moon"]])
    assert counts == {"couplet": 3, "rhymed": 3, "alternating": 2}
    assert rhymes_of([["blorf"], ["snorf"], ["may"], ["day"]]) == {"guessed": 2, "couplet": 2, "rhymed": 2}


@pytest.mark.parametrize("poems", [[], [""], ["\n\n...\n"], ["one\ntwo\nthree"]])
def test_nothing_to_score_gives_zeros(poems):
    found = verse(poems)
    assert (found.poems, found.short, found.lines) == (0, len(poems), 0)
    assert found.rhymed == found.metrical == found.syllables == found.unknown_words == 0


def test_numbers_and_unknown_words_are_counted_apart():
    found = verse(["the blorf\nin 1914\n\nthe snorf\n1 2 3\n"])
    assert found.lines == 4
    assert found.rhymed == 0
    assert found.guessed_rhymes == 0.5  # blorf and snorf, blank lines passed over
    assert found.spelled_words == 2 / 9
    assert found.unknown_words == 4 / 9
