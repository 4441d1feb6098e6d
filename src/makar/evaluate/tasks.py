r"""Tasks of one's own, a line of JSON each: questions with endings to choose from, prompts whose answers are judged.

    {"question": "The capital of France is", "choices": ["Paris", "Rome"], "answer": 0}
    {"prompt": "2 + 2 =", "answer": "4"}
    {"prompt": [{"role": "user", "content": "Name a prime."}], "pattern": "\\b(2|3|5|7)\\b"}

An answer is right where it equals one that is given, spaces around it left out ("exact"), or where the pattern is
found in it ("regex").
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makar.core.errors import InputError
from makar.evaluate.choice import Question
from makar.measure.text import plain_words


@dataclass(frozen=True)
class Task:
    """A prompt and how its answer is judged.

    Args:
        prompt: Text, or the messages of a conversation.
        answers: One of which it must be.
        pattern: What must be found in it instead.
        stop: Texts before which the answer ends.
    """

    prompt: Any
    answers: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    stop: tuple[str, ...] = ()

    def right(self, answer: str) -> bool:
        """Whether an answer is one of those that count."""
        if self.pattern is not None:
            return self.pattern.search(answer) is not None
        return answer.strip() in self.answers

    def overlap(self, answer: str) -> float:
        """The harmonic mean of precision and recall over words, with the given answer that fits best.

        Paper: arXiv 1606.05250, section 6.1 (F1).
        """
        return max((overlap(plain_words(answer), plain_words(given)) for given in self.answers), default=0.0)


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """F1 over two bags of words; 0 where one is empty."""
    shared = sum((Counter(one) & Counter(other)).values())
    return 2 * shared / (len(one) + len(other)) if shared else 0.0


def read_tasks(path: Path) -> list[Task | Question]:
    """The tasks of a file.

    Raises:
        InputError: A line is no task, with its number and the reason.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"cannot be read: {fault}", where=path, fix="give a file of JSON lines in UTF-8") from None
    found = [task_of(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InputError("there is no task", where=path, fix='a line is {"prompt": ..., "answer": ...}')
    return found


def task_of(line: str, where: str) -> Task | Question:
    """The task of a line.

    Raises:
        InputError: It is none.
    """
    try:
        row: Any = json.loads(line)
    except ValueError as fault:
        raise InputError(f"not valid JSON: {fault}", where=where, fix="give one object a line") from None
    if not isinstance(row, dict):
        raise InputError("not a JSON object", where=where, value=row, fix="give one object a line")
    if "choices" in row:
        return question_of(row, where)
    prompt, pattern, answers = row.get("prompt"), row.get("pattern"), row.get("answer")
    answers = [answers] if isinstance(answers, str) else answers
    if not prompt or not isinstance(prompt, str | list):
        raise InputError("no 'prompt' and no 'choices'", where=where, value=", ".join(row), fix="add what is asked")
    if isinstance(pattern, str):
        try:
            return Task(prompt, pattern=re.compile(pattern))
        except re.error as fault:
            raise InputError(f"not a pattern: {fault}", where=where, value=pattern, fix="mend it") from None
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise InputError("neither 'answer' nor 'pattern' is text", where=where, value=answers, fix="say what is right")
    return Task(prompt, tuple(answer.strip() for answer in answers))


def question_of(row: Mapping[str, Any], where: str) -> Question:
    """The question of a row with choices; the answer is a number from 0, or one of the choices.

    Raises:
        InputError: It is none.
    """
    text, choices, answer = row.get("question", row.get("prompt")), row["choices"], row.get("answer")
    if not isinstance(text, str):
        raise InputError("no 'question'", where=where, value=text, fix="add the text before the choices")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(each, str) and each for each in choices):
        raise InputError("'choices' are not two or more texts", where=where, value=choices, fix="list them")
    place = choices.index(answer) if answer in choices else answer
    if not isinstance(place, int) or not 0 <= place < len(choices):
        raise InputError("'answer' is none of the choices", where=where, value=answer, fix="give its number from 0")
    return Question(text, tuple(choices), place)
