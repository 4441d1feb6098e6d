"""Questions from real text: what is asked stands in the text, and what is answered is the text's own words."""

import ast
import json
import random
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from makar.core.errors import InputError
from makar.data.ask import RULES, ask
from makar.data.ask_text import ANSWER_LINES, Words, ask_topic, count_words, topic
from makar.data.collect import collect
from makar.data.config import Ask, CollectOptions
from makar.data.dataset import Dataset
from makar.data.document import Document, Fault
from makar.data.made import MADE

MOON = """The moon is high and the night is long,
And the moon hath heard my song.
I walk beneath the moon and its light,
And sleep till all is bright."""
OTHERS = [
    "The king is dead, and my lord the king\nWas good to us.\nThe queen of the land is sad.\nWe go.",
    "A rose is a rose, and a rose in the sun\nIs sweet.\nThe sun is high.\nWe sing of love.",
    "Of love I sing, for love is sweet,\nAnd love is all.\nThe river of the land is wide.\nIt goes.",
    "The moon of the moon is a moon in the sky.\nIt is.",
] * 5


def document(text, name="book#1"):
    return Document(text, f"{name}/1", name, "source")


def test_a_topic_is_the_noun_that_a_poem_repeats():
    words = count_words([MOON, *OTHERS])
    assert topic(MOON, words) == "moon"
    assert topic("It is and it is and it was.", words) is None


def test_nouns_keep_the_article_that_they_mostly_have():
    words = count_words([MOON, *OTHERS])
    assert [words.named(word) for word in ("moon", "rose", "love")] == ["the moon", "a rose", "love"]


def test_counts_are_of_documents_words_and_articles():
    words = count_words(["The cat and the dog.\nA cat sat", "My cat"])
    assert (words.documents, words.containing["cat"], words.count["cat"]) == (2, 2, 3)
    assert (words.the["cat"], words.a["cat"]) == (1, 1)
    assert words.noun["cat"] == 2, "before a function word and at the end of a line, not before a verb"


def test_a_poem_answers_the_wish_for_one_and_ends_with_a_sentence():
    words = count_words([MOON, *OTHERS])
    (record,) = ask_topic(document(MOON + "\nAnd then"), words)
    question, answer = (message["content"] for message in record["messages"])
    assert "the moon" in question
    assert answer == MOON
    assert not list(ask_topic(document("The moon\nthe moon\nthe moon\nthe moon"), words)), "no sentence ends"


@given(st.lists(st.sampled_from(["the moon is up.", "a rose", "of the sea!", "and so"]), max_size=40))
def test_answers_are_the_poems_own_first_lines(lines):
    words = count_words(["the moon is\na rose is\nthe sea is"] * 3)
    for record in ask_topic(document("\n".join(lines)), words):
        answer = record["messages"][1]["content"]
        assert "\n".join(lines).startswith(answer)
        assert len(answer.split("\n")) <= ANSWER_LINES


@given(st.integers(0, 99))
def test_verse_in_disorder_keeps_its_words_its_capitals_and_its_marks(number):
    words = count_words([MOON, *OTHERS])
    records = list(RULES["disorder"].make(document(MOON, f"book#{number}"), words))
    assume(records)  # a shuffle may leave all as it was: then there is nothing to prefer
    (record,) = records
    real, spoilt = record["chosen"][0]["content"], record["rejected"][0]["content"]
    assert real == MOON != spoilt
    assert "the moon" in record["prompt"][0]["content"]
    assert sorted(re.findall(r"\w+", real)) == sorted(re.findall(r"\w+", spoilt))
    for one, other in zip(real.split("\n"), spoilt.split("\n"), strict=True):
        assert one[0] == other[0], "the capital at a line's beginning stays"
        assert re.sub(r"\w+", "", one) == re.sub(r"\w+", "", other), "so do the marks"


def test_verse_is_spoilt_in_two_ways():
    words, made = count_words([MOON, *OTHERS]), []
    for number in range(20):
        pairs = RULES["disorder"].make(document(MOON, f"book#{number}"), words)
        made += [pair["rejected"][0]["content"] for pair in pairs]
    ends = [[line.split()[-1].strip(".,") for line in text.split("\n")] for text in (MOON, *made)]
    assert 0 < sum(found == ends[0] for found in ends[1:]) < len(made), "the ends stay where the insides are shuffled"
    assert all(sorted(found) == sorted(ends[0]) for found in ends)


def test_pairs_and_conversations_are_no_one_dataset():
    with pytest.raises(ValueError, match="ask for one kind"):
        CollectOptions(ask=("topic", "disorder"))
    assert CollectOptions(ask=("disorder", "echo")).ask


SOURCE = '''"""Things about shapes, gathered for tests."""


class Circle:
    """A round shape without any corners."""

    def area(self, times=1):
        """The area inside the circle, so many times.

        More words.
        """
        size = 3.14
        return size * times


class _Hidden:
    """Nobody should ask about this one."""


def one(): "A function in one line of text."; return 1
def bare(): return 2
'''


def made(rule, text=SOURCE, name="lib/shapes.py"):
    records = RULES[rule].make(document(text, name), Words())
    return [[message["content"] for message in record["messages"]] for record in records]


def test_a_function_is_shown_without_its_docstring():
    ((question, answer),) = made("docstring")
    assert answer == "The area inside the circle, so many times."
    code = question.split("```python\n")[1].removesuffix("\n```")
    (function,) = ast.parse(code).body
    assert isinstance(function, ast.FunctionDef)
    assert ast.get_docstring(function) is None
    assert "The area" not in question


def test_a_function_is_asked_for_by_what_it_does():
    ((question, answer),) = made("function")
    assert "area(self, times=1)" in question
    assert "so many times" in question
    assert answer.startswith("```python\ndef area(self, times=1):\n    size = 3.14")


def test_definitions_are_of_public_names():
    answers = dict(made("definition"))
    assert sorted(answers.values()) == [
        "A round shape without any corners.",
        "Things about shapes, gathered for tests.",
    ]
    assert any("`shapes.Circle`" in question for question in answers)


def test_what_is_not_python_has_no_functions():
    for text in ("def (", "\0", "(" * 10_000):
        assert made("docstring", text) == []


def test_a_paragraph_begins_with_its_summary():
    text = "Bees make honey in the hive. They fly far. They carry nectar. It is sweet.\n\nShort. One."
    ((question, answer),) = made("summary", text, "a.txt")
    assert answer == "Bees make honey in the hive."
    assert answer not in question
    assert "They carry nectar." in question


PROSE = """A stack is a list that is changed at one end
only. It is simple.

The event loop is the heart of the whole program.

The Alps are the highest mountains of Europe.

The loop is a part of what was said above. It has no name.

The following paragraph is a list of what matters here.

A man who came is a friend of those who stayed.

A dog is old."""


def test_what_a_paragraph_says_a_thing_is_answers_what_it_is():
    found = {answer: question for question, answer in made("term", PROSE, "a.txt")}
    assert list(found) == [
        "A stack is a list that is changed at one end only.",
        "The event loop is the heart of the whole program.",
        "The Alps are the highest mountains of Europe.",
    ], "and neither what points elsewhere, nor clauses, nor what says little"
    terms = (
        "what a stack is|what is a stack",
        "what the event loop is|what is the event loop",
        "what the Alps are|What are the Alps",
    )
    assert all(re.search(term, question, re.IGNORECASE) for term, question in zip(terms, found.values(), strict=True))


GLOSSARIES = {
    "a line each": "- **{}**: {}",
    "a dash": "{} — {}",
    "set in": "   {}\n      {}\n\n      And more of it in a paragraph of its own.\n",
    "Markdown": "{}\n: {}\n",
}
ENTRIES = {
    "adapter": "a small product of two matrices.",
    "Batch": "rows that are worked on together.",
    "checkpoint": "what a run continues from after it died.",
    "decoder": "reads tokens and says which is next.",
    "epoch": "once through all there is to read.",
}


@pytest.mark.parametrize("form", GLOSSARIES)
def test_a_glossary_answers_what_its_terms_mean(form):
    lines = [GLOSSARIES[form].format(*entry) for entry in ENTRIES.items()]
    found = made("term", "\n".join(["Words", "", *lines]), "a.txt")
    assert [answer for _, answer in found] == list(ENTRIES.values())
    assert all(f'"{term}"' in question for (question, _), term in zip(found, ENTRIES, strict=True))
    assert made("term", "\n".join(lines[:4]), "a.txt") == [], "too few for a glossary"
    assert made("term", "\n".join([*lines[3:], *lines[:3]]), "a.txt") == [], "in no order: a play, or notes"
    assert made("term", "\n\nBut then:\n\n".join(lines), "a.txt") == [], "with words between"


@given(st.text(st.sampled_from("aB .:-\n\t*`é"), max_size=300))
def test_any_text_has_terms_that_stand_in_it_or_none(text):
    for question, answer in made("term", text, "a.txt"):
        assert answer in " ".join(text.split())
        assert re.search('"(.+)"|an? |the ', question)


def test_documents_are_conversations_of_their_group_or_one_fault():
    found = list(ask(document(SOURCE, "lib/shapes.py"), ["docstring", "definition"], Words()))
    assert [type(item) for item in found] == [Document] * 3
    assert all(item.group == "lib/shapes.py" for item in found)
    assert len({item.id for item in found}) == 3
    assert json.loads(found[0].text)["messages"][0]["role"] == "user"
    (fault,) = ask(document("Nothing here."), ["docstring"], Words())
    assert isinstance(fault, Fault)
    assert fault.bytes == 14


def test_the_settings_know_all_rules():
    assert set(get_args(Ask)) == set(RULES)


def test_one_page_names_all_rules_and_all_that_makar_makes():
    page = (Path(__file__).parents[2] / "docs" / "data" / "chats.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(?:make:)?([a-z-]+)` \|", page, re.MULTILINE)
    assert {*RULES, *MADE} <= {*named}


@pytest.fixture
def poems(tmp_path):
    """Forty poems about the moon or the sea, each its own group, and one about nothing."""
    draw, verses = random.Random(0), []
    for word in ("moon", "sea") * 20:
        a, b, c, d, e = ("".join(draw.choices("abcdefgh", k=6)) for _ in range(5))
        verses.append(f"{a} {b} the {word} is {c},\nThe {word} of {d} {e}\n{c} {a} the {word}\n{d} {b} the {word}.")
    rows = [
        {"text": text, "group": number}
        for number, text in enumerate([*verses, "We go and then we are\nNot here at all."])
    ]
    path = tmp_path / "poems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_collection_of_prose_becomes_conversations(poems, tmp_path):
    options = CollectOptions(ask=("topic",), test_fraction=0.2, valid_fraction=0.1, near=1.0)
    manifest = collect([str(poems)], tmp_path / "asked", options)
    assert manifest.kind == "chat"
    assert manifest.dropped["no question could be made of it"].documents >= 1
    raw = sum(count.documents for count in (*manifest.kept_raw.values(), *manifest.dropped.values()))
    assert raw == manifest.read.documents == 41
    found = [json.loads(text) for text in Dataset.open(tmp_path / "asked").texts("train")]
    assert {m["content"].split("the ")[-1].rstrip("?.") for r in found for m in r["messages"][:1]} == {"moon", "sea"}
    assert "'topic'" in (tmp_path / "asked" / "README.md").read_text()


def test_conversations_cannot_be_asked_again(tmp_path):
    (tmp_path / "chats.jsonl").write_text('{"prompt": "Hello, who are you?", "completion": "A makar."}\n' * 3)
    with pytest.raises(InputError, match="leave collect.ask out"):
        collect([str(tmp_path / "chats.jsonl")], tmp_path / "asked", CollectOptions(ask=("topic",)))
