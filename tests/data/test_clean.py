import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.data.clean import CONTROLS, ENTITY, fault_of, normalise, repairer
from makar.data.config import CollectOptions
from tests.data.corpora import verse

PLAIN = st.text(st.characters(codec="ascii"), max_size=200)


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("schÃ¶n", "schön"),
        ("e\u0301te\u0301", "été"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("caf&eacute; &amp; bar", "café & bar"),
        ("one\x00two\x08", "onetwo"),
        ("\n\n  indented\nverse\n\n", "  indented\nverse"),
        ("“quotes” stay—so do dashes…", "“quotes” stay—so do dashes…"),
        ("Tom & Jerry; &c.", "Tom & Jerry; &c."),
        ("ﬁne", "fine"),
        ("月光", "月光"),
    ],
)
def test_text_is_mended(text, better):
    assert normalise(text) == better


def test_code_is_left_alone_but_for_newlines():
    assert normalise('print("&amp; schÃ¶n")\r\n', code=True) == 'print("&amp; schÃ¶n")'


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_what_is_passed_by_unseen_would_not_have_changed(text):
    """The fast path is the slow path."""
    if not CONTROLS.search(text) and not ENTITY.search(text):
        assert normalise(text) == repairer()(text).strip("\n")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100))
def test_the_result_is_composed_and_holds_no_controls(text):
    found = normalise(text)
    assert unicodedata.is_normalized("NFC", found)
    assert not CONTROLS.search(found)


CODE = '''
def read(path: Path) -> dict[str, int]:
    """Counts."""
    counts: dict[str, int] = {}
    with path.open() as file:
        for line in file:
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1
    return {key: value for key, value in sorted(counts.items()) if value > 1}
'''
REFRAIN = "\n".join(f"{verse(n, lines=3)}\nO sing, O sing, the river runs,\nO sing the river down." for n in range(5))
INDEX = "\n".join(f"{verse(n, lines=1, words=2)} .... {n}" for n in range(20))
COLUMN = "\n".join(f"{verse(n, lines=1, words=2)}          _John Keats_" for n in range(20))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (verse(0), None),
        (CODE, None),
        (REFRAIN, None),
        ("Prose. " * 3 + verse(1, lines=1, words=600), None),
        ("Ὦ ξεῖν᾽, ἀγγέλλειν Λακεδαιμονίοις ὅτι τῇδε κείμεθα", None),
        ("", "too short"),
        ("moon", "too short"),
        (" " * 100, "too short"),
        ("a" * 30_000, "a line too long"),
        ("* * * * * * *\n" * 9, "mostly symbols"),
        ("+---+---+\n|   | x |\n" * 9, "mostly symbols"),
        ("«»—…" * 20, "mostly symbols"),
        ("the same line again and again\n" * 9, "mostly repeated lines"),
        (INDEX, "mostly columns (a table or an index)"),
        (COLUMN, "mostly columns (a table or an index)"),
    ],
)
def test_quality(text, reason):
    assert fault_of(text, CollectOptions()) == reason


def test_the_least_length_is_an_option():
    assert fault_of("moon", CollectOptions(min_chars=4)) is None
