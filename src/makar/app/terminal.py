"""What a person sees: results on stdout, as text or one JSON document; progress and words on stderr."""

import json
import math
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from makar.core.errors import InputError
from makar.core.files import write_atomic

if TYPE_CHECKING:  # imports torch, which a command that only prints has no need of
    from makar.core.nouns import Chunk

Say = Callable[[str], None]

BETWEEN = "\n---\n"
"""What stands between two answers."""


def silent(line: str) -> None:  # noqa: ARG001
    """Say nothing."""


def loud(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)


def say(quiet: bool) -> Say:
    """Where a command's words go."""
    return silent if quiet else loud


def emit(value: Any, as_json: bool, text: Callable[[Any], str]) -> None:
    """Print a result: as text for a person, or as one JSON document."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False) if as_json else text(value))


def plain(value: Any) -> Any:
    """A result as JSON holds it; what JSON has no word for (a path, a NaN) becomes text or null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


# Answers ---------------------------------------------------------------------------------------------------------------


def prompts(prompt: str | None, file: Path | None) -> list[str]:
    """What is asked: the words on the command line, stdin for "-", or the lines of a file.

    Raises:
        InputError: Both are given, or the file cannot be read or has no line.
    """
    if prompt is not None and file is not None:
        raise InputError("a prompt and --from FILE are both given", value=prompt, fix="give one of the two")
    if file is None:
        return [sys.stdin.read().rstrip("\n") if prompt == "-" else prompt or ""]
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as fault:
        raise InputError(f"cannot be read: {fault.strerror}", where=file, fix="name a text file") from None
    except UnicodeDecodeError as fault:
        raise InputError("is not UTF-8 text", where=file, value=f"byte {fault.start}", fix="save it as UTF-8") from None
    found = [line for line in lines if line.strip()]
    if not found:
        raise InputError("holds no prompt", where=file, fix="write one prompt a line")
    return found


def write(chunks: Iterable["Chunk"], asked: Sequence[str], count: int, out: TextIO | None = None) -> None:
    """Print answers as they come. Rows are made together: the first that is not done is shown live, the others wait.

    Args:
        chunks: From `api.stream`; row r answers `asked[r // count]`.
        asked: The prompts, each printed before its answers.
        count: Answers to each prompt.
        out: stdout unless said otherwise.
    """
    out = out or sys.stdout
    total, live = len(asked) * count, 0
    waiting = [asked[row // count] for row in range(total)]
    done = [False] * total

    def show(text: str) -> None:
        out.write(text)
        out.flush()

    show(waiting[0])
    for chunk in chunks:
        piece = chunk.data or ""
        if chunk.reason == "refused":
            loud(f"makar: answer {chunk.row + 1}: {chunk.info.get('refusal')}")
        done[chunk.row] |= chunk.done
        if chunk.row != live:
            waiting[chunk.row] += piece
            continue
        show(piece)
        while live < total and done[live]:
            live += 1
            show(BETWEEN + waiting[live] if live < total else "\n")


def deliver(answers: Sequence[Mapping[str, Any]], as_json: bool, out: Path | None) -> None:
    """Write whole answers to a file or to stdout."""
    if as_json:
        text = json.dumps(plain({"answers": answers}), indent=2, ensure_ascii=False)
    else:
        text = BETWEEN.join(answer["prompt"] + answer["text"] for answer in answers)
    if out is None:
        print(text)
    else:
        write_atomic(out, text + "\n")
