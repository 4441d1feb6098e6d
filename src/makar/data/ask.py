"""Real text to questions and answers, by rules that the data card states: nothing in an answer is made up.

A rule turns one document into any number of conversations, as `data.chats` reads them.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from makar.data.ask_code import ask_definition, ask_docstring, ask_function
from makar.data.ask_terms import ask_term
from makar.data.ask_text import Record, Words, ask_summary, ask_topic
from makar.data.ask_verse import ask_disorder, ask_echo
from makar.data.document import Document, Fault, size


class Rule(NamedTuple):
    """How questions are made.

    Args:
        make: From a document and the counts of its corpus to any number of records.
        kind: Of the records.
        note: What the data card says of it.
    """

    make: Callable[[Document, Words], Iterator[Record]]
    kind: Literal["chat", "preference"]
    note: str


RULES: Mapping[str, Rule] = {
    "topic": Rule(
        ask_topic, "chat", "a poem's beginning answers a wish for a poem about the noun that it repeats most"
    ),
    "summary": Rule(ask_summary, "chat", "a paragraph's first sentence answers a wish to sum up the rest of it"),
    "docstring": Rule(ask_docstring, "chat", "a function's docstring answers what the function does"),
    "function": Rule(ask_function, "chat", "a function answers a wish for what its docstring says"),
    "definition": Rule(ask_definition, "chat", "the first sentence about a class or a module answers what it is"),
    "term": Rule(
        ask_term,
        "chat",
        'what a paragraph says first ("A thing is a ...") and what a glossary in alphabetical order says of a term '
        "answer what it is",
    ),
    "disorder": Rule(
        ask_disorder, "preference", "a poem's beginning is preferred to the same with words inside or at ends exchanged"
    ),
    "echo": Rule(
        ask_echo,
        "preference",
        "a poem's beginning is preferred to the same with one line given up for the one two before it, said again",
    ),
}
"""The rules by the names that a recipe gives them, each with what the data card says of it."""


def ask(document: Document, names: Sequence[str], words: Words) -> Iterator[Document | Fault]:
    """What rules make of a document: conversations as documents of its group, or one fault if there is none.

    Args:
        document: Normalised text.
        names: Keys of `RULES`.
        words: Counts over the whole corpus.
    """
    made = 0
    for name in names:
        for number, record in enumerate(RULES[name].make(document, words)):
            made += 1
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            yield Document(text, f"{document.id}/{name}-{number}", document.group, document.source)
    if not made:
        fix = f"none of the rules fits it: {', '.join(names)}"
        yield Fault("no question could be made of it", document.id, size(document.text), fix)
