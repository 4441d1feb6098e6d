"""People's choices between two answers: an append-only file of one JSON object a line, which is a preference dataset.

An answer is a text, or a picture as the text of a data URL (RFC 2397): so a store of pictures is one file too. The
store only grows, so a run never trains on the store itself but on a `snapshot` of it, named by its hash. Imports no
torch.
"""

import base64
import binascii
import fcntl
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from makar.core.config import Config, parse
from makar.core.errors import InputError, RecipeError
from makar.core.files import mending, sha256, write_atomic

Text = Annotated[str, Field(min_length=1)]

PICTURE = "data:image/png;base64,"
"""How an answer begins that is a picture."""


class Choice(Config):
    """One choice.

    Args:
        prompt: What both answers answer.
        chosen: The answer that was liked better.
        rejected: The other one.
        chosen_seed: The seed that the chosen answer was made with.
        rejected_seed: That of the other.
        shown_first: Which of the two stood first, for those who look for a habit.
        who: Who chose.
        when: At what time, in UTC.
        model: Who answered.
        weights: The SHA-256 of its weights.
    """

    prompt: Text
    chosen: str
    rejected: str
    chosen_seed: int
    rejected_seed: int
    shown_first: Annotated[str, Field(pattern="^(chosen|rejected)$")]
    who: Text
    when: datetime
    model: Text
    weights: Text

    @model_validator(mode="after")
    def answers_differ(self) -> "Choice":
        """Of two equal answers none can be better."""
        if self.chosen.strip() == self.rejected.strip():
            raise ValueError("the two answers are equal: choose between different ones")
        return self


def now() -> datetime:
    """The time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def add_choice(store: Path, choice: Choice) -> None:
    """Add a choice at the end of a store, whole, whoever else is writing; a kill spoils no line that was there.

    Raises:
        ResourceError: The file cannot be written.
    """
    line = json.dumps(choice.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n"
    with mending(store), store.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # goes with the file
        file.seek(0)
        before, end, last = file.read().rpartition(b"\n")
        if is_json(last):  # only its line end is missing: an editor left it out
            line = b"\n" + line
        else:  # a killed process left it half-written
            file.truncate(len(before + end))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def is_json(line: bytes) -> bool:
    """Whether a line is whole."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def read_choices(store: Path) -> list[Choice]:
    """All choices of a store, in the order in which they were made; a half line at the end is left out.

    Raises:
        InputError: A line that is no choice, named by its number.
    """
    try:
        lines = store.read_bytes().split(b"\n")
    except OSError as fault:
        raise InputError(f"the choices cannot be read: {fault.strerror}", where=store, fix="name a file") from None
    found: list[Choice] = []
    for number, line in enumerate(lines, 1):
        where = f"{store}:{number}"
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except ValueError:
            if number == len(lines):  # no line end behind it: the process that wrote it was killed
                continue
            raise InputError("not a line of JSON", where=where, fix="take the line out") from None
        try:
            found.append(parse(Choice, data if isinstance(data, dict) else {"line": data}, where))
        except RecipeError as fault:
            raise InputError(fault.what, where=where, value=fault.value, fix=fault.fix) from None
    return found


def snapshot(store: Path, folder: Path) -> Path:
    """A copy of a store as it is now, checked, and named by its content: what a recipe may train on.

    Args:
        store: What grows.
        folder: Where the copy goes.

    Raises:
        InputError: The store holds what is no choice, or none at all.
    """
    choices = read_choices(store)
    if not choices:
        raise InputError("the store holds no choice", where=store, fix="makar feedback asks for some")
    text = "".join(json.dumps(choice.model_dump(mode="json"), ensure_ascii=False) + "\n" for choice in choices)
    with mending(folder):
        folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{store.stem}.{os.getpid()}.tmp"
    try:
        write_atomic(beside, text)
        place = folder / f"{store.stem}-{sha256(beside)[:12]}{store.suffix}"
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)
    return place


def picture_text(png: bytes) -> str:
    """A picture as an answer."""
    return PICTURE + base64.b64encode(png).decode("ascii")


def picture_in(text: str, where: str) -> bytes:
    """The file of a picture that is an answer.

    Raises:
        InputError: The answer is none.
    """
    fix = "train on choices that makar feedback kept of a model of pictures"
    if not text.startswith(PICTURE):
        raise InputError("the answer is no picture", where=where, value=text, fix=fix)
    try:
        return base64.b64decode(text.removeprefix(PICTURE), validate=True)
    except binascii.Error as fault:
        raise InputError(f"the picture is damaged: {fault}", where=where, fix=fix) from None


def chosen_already(choices: Sequence[Choice], who: str, weights: str) -> set[str]:
    """The prompts whose answers by this model a person has chosen between."""
    return {choice.prompt for choice in choices if choice.who == who and choice.weights == weights}
