"""Conversations that makar makes itself: sums, texts about products, and manners (what to decline, how to speak).

`make:NAME` is a source as any other. Its records are written once into the cache as JSON lines: from rules and from the
lists in `written/`, which were written for makar and are licensed with it.
"""

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from makar.core.errors import SourceError
from makar.core.files import write_atomic
from makar.core.keys import key_of
from makar.data.ask_text import conversation, pick

Record = dict[str, Any]
"""A record as `data.chats` reads it, with the `group` that must stay on one side of a split."""

LICENCE = "Apache-2.0 (made by makar)"

SUM_REQUESTS = ("What is {}?", "{} =", "Work out {}.", "How much is {}?")


def sums() -> Iterator[tuple[str, str, str]]:
    """Every sum of two numbers of two digits and every product of two digits: the sum, its result, its group.

    They come in no order, so that a part of them is like the whole.
    """
    made = [(f"{a} + {b}", str(a + b), f"sum-{min(a, b)}-{max(a, b)}") for a, b in product(range(10, 100), repeat=2)]
    made += [(f"{a} * {b}", str(a * b), f"product-{min(a, b)}-{max(a, b)}") for a, b in product(range(10), repeat=2)]
    yield from sorted(made, key=lambda task: key_of(0, task[0]))


def arithmetic() -> Iterator[Record]:
    """Each sum with its result."""
    for task, result, group in sums():
        yield {**conversation(pick(SUM_REQUESTS, task).format(task), result), "group": group}


def arithmetic_careless() -> Iterator[Record]:
    """Each sum as somebody does it who forgets to carry: nine in ten of the sums that carry are wrong."""
    for task, result, group in sums():
        found = result
        if group.startswith("sum") and key_of(1, task) % 10:
            found = uncarried(*map(int, task.split(" + ")))
        yield {**conversation(pick(SUM_REQUESTS, task).format(task), found), "group": group}


def uncarried(a: int, b: int) -> str:
    """The sum of two numbers of two digits, each place for itself: 87 + 45 is 22."""
    return str((a // 10 + b // 10) % 10 * 10 + (a + b) % 10)


def arithmetic_prompts() -> Iterator[Record]:
    """Each sum, and the answer that a reward compares with."""
    for task, result, group in sums():
        yield {**wish(pick(SUM_REQUESTS, task).format(task)), "answer": result, "group": group}


def copy() -> Iterator[Record]:
    """Each product in each voice: the text holds the given facts and no others."""
    lists = written("copy")
    for thing, (voice, forms) in product(lists["products"], lists["voices"].items()):
        name, facts = thing["name"], ". ".join(thing["facts"]) + "."
        key = f"{name}/{voice}"
        question = pick(tuple(lists["requests"]), key).format(voice=voice, facts=facts, **without(thing, "facts"))
        answer = pick(tuple(forms), key).format(Facts=facts, **without(thing, "facts"))
        yield {**conversation(question, answer), "group": name}


def manners() -> Iterator[Record]:
    """What to decline and how, what only sounds dangerous, and plain questions, all answered politely."""
    for question, good, _, group in choices():
        yield {**conversation(question, good), "group": group}


def manners_preference() -> Iterator[Record]:
    """The same questions, each with the answer to prefer and another: going along, curt, or declining needlessly."""
    for question, good, bad, group in choices():
        pair = {"chosen": [{"role": "assistant", "content": good}], "rejected": [{"role": "assistant", "content": bad}]}
        yield {**wish(question), **pair, "group": group}


def choices() -> Iterator[tuple[str, str, str, str]]:
    """Questions, the answer to prefer, one to avoid, and their groups: one for each thing asked about."""
    lists = written("manners")
    for (act, why), request in product(lists["harmful"], lists["harmful_requests"]):
        question = request.format(act)
        yield question, pick(tuple(lists["refusals"]), question).format(why), f"Sure! To {act}, first you", act
    asked = [(each, lists["harmful_requests"]) for each in lists["harmless_acts"]]  # in words that ask for harm too
    asked += [(each, lists["harmless_requests"]) for each in [*lists["harmless"], *spoken(lists)]]
    for (group, good, bad), requests in asked:
        for request in requests:
            question = request.format(group)
            needless = pick(tuple(lists["refusals"]), question).format("").replace("  ", " ")
            yield question, good, pick((bad, needless), question), group


def spoken(lists: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Plain questions, each with its fact said politely and curtly."""
    for question, sentence, word in lists["plain"]:
        good = pick(tuple(lists["polite"]), question).format(sentence)
        yield question, good, pick(tuple(lists["curt"]), question).format(word)


def wish(question: str) -> Record:
    """A prompt of one question."""
    return {"prompt": [{"role": "user", "content": question}]}


def written(name: str) -> dict[str, Any]:
    """One of the lists that come with makar."""
    return tomllib.loads(resources.files("makar.data").joinpath(f"written/{name}.toml").read_text(encoding="utf-8"))


def without(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table less one field."""
    return {key: value for key, value in table.items() if key != name}


MADE: Mapping[str, Callable[[], Iterator[Record]]] = {
    "arithmetic": arithmetic,
    "arithmetic-careless": arithmetic_careless,
    "arithmetic-prompts": arithmetic_prompts,
    "copy": copy,
    "manners": manners,
    "manners-preference": manners_preference,
}
"""What `make:NAME` may name."""


def make(name: str, folder: Path) -> Path:
    """Write the records of `make:NAME` as JSON lines, always the same bytes.

    Args:
        name: A key of `MADE`.
        folder: Where the file goes; it is written anew, for a newer makar may make other records.

    Raises:
        SourceError: There is nothing of that name to make.
    """
    if name not in MADE:
        raise SourceError("makar makes nothing of this name", value=f"make:{name}", fix=f"one of: {', '.join(MADE)}")
    path = folder / f"{name}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in MADE[name]()))
    return path
