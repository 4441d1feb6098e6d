"""Real text to questions and answers, by rules that the data card states: nothing in an answer is made up.

A rule turns one document into any number of conversations, as `data.chats` reads them.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from makar.data.ask_code import ask_definition, ask_docstring, ask_function
from makar.data.ask_text import Record, Words, ask_summary, ask_topic
from makar.data.document import Document, Fault, size

Rule = Callable[[Document, Words], Iterator[Record]]

RULES: Mapping[str, tuple[Rule, str]] = {
    "topic": (ask_topic, "a poem's beginning answers a wish for a poem about the noun that it repeats most"),
    "summary": (ask_summary, "a paragraph's first sentence answers a wish to sum up the rest of it"),
    "docstring": (ask_docstring, "a function's docstring answers what the function does"),
    "function": (ask_function, "a function answers a wish for what its docstring says"),
    "definition": (ask_definition, "the first sentence about a class or a module answers what it is"),
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
        for number, record in enumerate(RULES[name][0](document, words)):
            made += 1
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            yield Document(text, f"{document.id}/{name}-{number}", document.group, document.source)
    if not made:
        fix = f"none of the rules fits it: {', '.join(names)}"
        yield Fault("no question could be made of it", document.id, size(document.text), fix)
