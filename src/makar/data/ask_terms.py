"""Questions about what things are, whose answers stand in the text: in prose that says so, and in glossaries."""

import re
from collections.abc import Iterator

from makar.data.ask_text import FUNCTION_WORDS, SENTENCES, VAGUE, Record, Words, conversation, pick
from makar.data.document import Document

SHORTEST, LONGEST = 30, 400
"""Characters of what is said of a term."""

FEWEST = 5
"""Lines in alphabetical order that are a glossary, and not a note or a play."""

PROSE_REQUESTS = ("What {1} {0}?", "Can you tell me what {0} {1}?", "Explain in a sentence what {0} {1}.")
GLOSSARY_REQUESTS = ('What is "{}"?', 'What does "{}" mean?', 'What is meant by "{}"?')

SAYS = re.compile(r"(An?|The) ((?:[\w’'-]+ ){1,4}?)(is|are) (?:an?|the|one|any|some) ")
"""How a sentence begins that says what a thing is."""

_POINTING = """
following above below latter former first second third next basic optional created returned resulting result return
value values argument arguments parameter parameters reason point idea issue question answer
"""
POINTING = (FUNCTION_WORDS | VAGUE | frozenset(_POINTING.split())) - {"of"}
"""What makes no term: clauses, and what has no meaning away from its place in a text."""

ENTRY = re.compile(
    r"^(?P<indent>[ \t]*)(?:[-*+] +)?[*_`]{0,2}(?P<term>[^\W\d_][\w ’'-]{0,40}?)[*_`]{0,2}"
    r"(?:\n(?P=indent)(?:[ \t]{2,}|: +)|: +| +[-–—] +)(?P<said>\S.*(?:\n(?P=indent)[ \t]{2,}\S.*)*)$",
    re.MULTILINE,
)
"""A line of a glossary: "Term: what it is.", "**Term** - what it is.", or what it is in lines of its own, set in."""


def ask_term(document: Document, words: Words) -> Iterator[Record]:  # noqa: ARG001
    """Each paragraph that begins by saying what a thing is, and each entry of a glossary, asked for by the term."""
    for paragraph in re.split(r"\n\s*\n", document.text):
        sentence = SENTENCES.split(" ".join(paragraph.split()), maxsplit=1)[0]
        found = SAYS.match(sentence)
        if found and is_said(sentence) and is_term(found[1], found[2].split()):
            term = f"{found[1].lower()} {found[2].strip()}"
            yield conversation(pick(PROSE_REQUESTS, f"{document.id}/{term}").format(term, found[3]), sentence)
    for entry in entries(document.text):
        said = SENTENCES.split(" ".join(entry["said"].split()), maxsplit=1)[0]
        if is_said(said):
            question = pick(GLOSSARY_REQUESTS, f"{document.id}/{entry['term']}").format(entry["term"])
            yield conversation(question, said)


def is_said(sentence: str) -> bool:
    """Whether an answer is a whole sentence of some length."""
    return SHORTEST <= len(sentence) <= LONGEST and sentence[-1] in ".!?" and sentence.isprintable()


def is_term(article: str, term: list[str]) -> bool:
    """Whether words name a thing by themselves; "the loop" is one that a text spoke of before, "the event loop" not."""
    known = article != "The" or len(term) > 1 or not term[0].islower()
    return known and not any(word.lower() in POINTING for word in term)


def entries(text: str) -> Iterator[re.Match[str]]:
    """The entries of the glossaries of a text: in alphabetical order, with nothing between that is not set in."""
    run: list[re.Match[str]] = []
    for entry in ENTRY.finditer(text):
        if run and not follows(entry, run[-1]):
            yield from run if len(run) >= FEWEST else ()
            run = []
        run.append(entry)
    yield from run if len(run) >= FEWEST else ()


def follows(entry: re.Match[str], before: re.Match[str]) -> bool:
    """Whether an entry is the next one of the same glossary."""
    indent = before["indent"]
    between = entry.string[before.end() : entry.start()].split("\n")
    more = all(not line.strip() or line.startswith((f"{indent}  ", f"{indent}\t")) for line in between)
    return more and entry["indent"] == indent and before["term"].lower() < entry["term"].lower()
