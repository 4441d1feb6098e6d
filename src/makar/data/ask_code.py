"""Questions about program text whose answers stand in it: what a function does, how it is written, what a class is."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from makar.data.ask_text import Record, Words, conversation, pick
from makar.data.document import Document

LONGEST = 1200
"""Characters of a function that is asked about."""

SHORTEST, LONGEST_SUMMARY = 20, 300
"""Characters of a docstring's first paragraph that is an answer by itself."""

DOCSTRING_REQUESTS = (
    "What does this function do?\n\n```python\n{}\n```",
    "Write a docstring for this function.\n\n```python\n{}\n```",
    "Explain this Python function in a sentence or two.\n\n```python\n{}\n```",
)
FUNCTION_REQUESTS = (
    "Write a Python function `{}`: {}",
    "Write a function in Python with the signature `{}`. {}",
)
DEFINITION_REQUESTS = ("What is `{}` in Python?", "What is `{}` for?", "Explain `{}`.")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def ask_docstring(document: Document, words: Words) -> Iterator[Record]:  # noqa: ARG001
    """Each function that has a docstring, shown without it; the docstring's first paragraph is the answer."""
    for function, source, summary in functions(document.text):
        yield conversation(pick(DOCSTRING_REQUESTS, f"{document.id}/{function.name}").format(source), summary)


def ask_function(document: Document, words: Words) -> Iterator[Record]:  # noqa: ARG001
    """Each function that has a docstring, asked for by its signature and what the docstring says."""
    for function, source, summary in functions(document.text):
        signature = f"{function.name}({ast.unparse(function.args)})"
        question = pick(FUNCTION_REQUESTS, f"{document.id}/{function.name}").format(signature, summary)
        yield conversation(question, f"```python\n{source}\n```")


def ask_definition(document: Document, words: Words) -> Iterator[Record]:  # noqa: ARG001
    """Each class, and the module itself, asked for by name; the docstring's first paragraph is the answer."""
    tree = parsed(document.text)
    if tree is None:
        return
    module = PurePath(document.group.split("#", maxsplit=1)[0]).stem
    named = [(module, tree)] if module.isidentifier() and not module.startswith("_") else []
    named += [(f"{module}.{node.name}", node) for node in tree.body if isinstance(node, ast.ClassDef)]
    for name, node in named:
        summary = first_paragraph(ast.get_docstring(node))
        if summary and "._" not in name:
            yield conversation(pick(DEFINITION_REQUESTS, f"{document.id}/{name}").format(name), summary)


def functions(text: str) -> Iterator[tuple[Function, str, str]]:
    """The functions with a docstring of a file: the node, its text without the docstring, the first paragraph."""
    tree, lines = parsed(text), text.split("\n")
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, Function) and len(node.body) > 1:
            summary, bare = first_paragraph(ast.get_docstring(node)), without_docstring(node, lines)
            if summary and bare and len(bare) <= LONGEST:
                yield node, bare, summary


def without_docstring(function: Function, lines: Sequence[str]) -> str | None:
    """A function's lines in a file, without its docstring, its decorators and the indentation that it stands at."""
    docstring, following = function.body[0], function.body[1]
    first, last = docstring.lineno, docstring.end_lineno or docstring.lineno
    if not function.lineno < first <= last < following.lineno:
        return None  # a line is shared
    kept = [*lines[function.lineno - 1 : first - 1], *lines[last : function.end_lineno]]
    return "\n".join(line.removeprefix(" " * function.col_offset) for line in kept)


def first_paragraph(docstring: str | None) -> str | None:
    """A docstring's first paragraph in one line, if it is a sentence of some length."""
    if docstring is None:
        return None
    summary = " ".join(re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0].split())
    whole = SHORTEST <= len(summary) <= LONGEST_SUMMARY and summary[0].isupper() and summary[-1] in ".!?"
    return summary if whole and summary.isprintable() else None


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a Python file, or None if it is none."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
