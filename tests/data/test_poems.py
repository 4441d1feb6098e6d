import gzip
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.core.errors import InputError
from makar.data import poems
from makar.data.archives import on_disk
from makar.data.document import size
from makar.data.poems import BLOCK, FULL, LONG, SHORT, cut_poems, find_books
from makar.data.read import read
from tests.data.corpora import dumps, frame, verse

LINE = st.sampled_from(
    ["The moon is up,", "and over all the hill", "it shines. It shines!", "SHE walks in light.", "XII.", "", "O sea."]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(LINE, min_size=1, max_size=300), st.lists(st.integers(1, 299), max_size=4))
def test_the_poems_are_all_lines_in_order_and_none_crosses_books(lines, borders):
    books = sorted({0, *(border for border in borders if border < len(lines))})
    cuts = list(cut_poems(lines, books))
    assert [start for start, _ in cuts] == [0, *(end for _, end in cuts[:-1])]
    assert cuts[-1][1] == len(lines)
    assert all(1 <= end - start <= LONG for start, end in cuts)
    assert set(books) <= {start for start, _ in cuts}


def test_a_poem_opened_by_capitals_begins_there():
    poem = ["BEING your slave, what should I do but tend", *["upon the hours and times of thy desire,"] * 12, "I ask."]
    lines = poem * 5
    assert list(cut_poems(lines, [0])) == [(n * 14, n * 14 + 14) for n in range(5)]


@pytest.mark.parametrize(
    "line", ["I walk alone.", "A bird", "OH", "BERTHO came, and Sir JOHN said", "O Moon!", "MDCCC"]
)
def test_capitals_alone_do_not_open_a_poem(line):
    """Too near to the one before, or after no full stop, or no spelling out at all."""
    lines = ["the river runs and does not end,"] * 20 + [line] + ["the river runs and does not end,"] * 20
    assert poems.cut_scores(lines)[20] < poems.OPENED


def test_stanzas_that_rhyme_are_not_divided():
    stanza = [
        "the moon went up the night,",
        "and all the sea was calm.",
        "the hill was full of light,",
        "and all the air a psalm.",
    ]
    lines = [line[:1].upper() + line[1:] for line in stanza * 30]
    cuts = [start for start, _ in cut_poems(lines, [0])]
    assert all(start % 4 == 0 for start in cuts)
    assert len(cuts) >= len(lines) // LONG


def test_a_cut_falls_at_the_end_of_a_sentence():
    lines = (["And so the river ran along the hill,"] * 16 + ["And there it ended in the open sea."]) * 10
    cuts = list(cut_poems(lines, [0]))
    assert all(lines[end - 1].endswith(".") for _, end in cuts)
    assert all(end - start >= FULL for start, end in cuts[:-1])
    assert SHORT < FULL < LONG


def test_books_are_found_where_the_words_change():
    lines = []
    for book in range(4):
        rng = np.random.default_rng(book)
        own = [f"w{book}x{n}".replace("0", "a") for n in range(400)]
        common = [f"common{n}" for n in range(100)]
        for _ in range(20 * BLOCK):
            lines.append(" ".join([rng.choice(own), *rng.choice(common, 5)]))
    assert find_books(lines) == [0, 20 * BLOCK, 40 * BLOCK, 60 * BLOCK]
    assert find_books(lines[: 20 * BLOCK]) == [0]


def known(tmp_path, monkeypatch, data):
    """A file of that content, whose hash is in the table of known pickles."""
    path = tmp_path / "data.pkl.compress"
    path.write_bytes(data)
    monkeypatch.setattr(poems, "KNOWN", {hashlib.sha256(data).hexdigest(): "text"})
    return path


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: data])
def test_a_known_pickle_becomes_poems_that_are_its_lines(tmp_path, monkeypatch, pack):
    lines = [line for seed in range(30) for line in verse(seed, lines=10).split("\n")]
    path = known(tmp_path, monkeypatch, pack(dumps(frame(lines))))
    documents = list(read(on_disk(path, "x"), "x"))
    assert "\n".join(document.text for document in documents).split("\n") == lines
    assert sum(size(document.text) for document in documents) == len("\n".join([*lines, ""]).encode())
    assert {document.group for document in documents} == {"x#book-0000"}
    assert len({document.id for document in documents}) == len(documents)


def test_a_known_hash_is_no_licence_to_run_code(tmp_path, monkeypatch):
    path = known(tmp_path, monkeypatch, b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(InputError, match=r"not admitted.*os.system"):
        list(read(on_disk(path, "x"), "x"))


def test_a_changed_byte_makes_a_known_pickle_unknown(tmp_path, monkeypatch):
    path = known(tmp_path, monkeypatch, dumps(frame(["a"])))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match="not known"):
        list(read(on_disk(path, "x"), "x"))
