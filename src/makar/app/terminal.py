"""What a person sees: results on stdout, as text or one JSON document; progress and words on stderr."""

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.core.config import Config
from makar.core.errors import InputError
from makar.core.files import write_atomic
from makar.core.say import Say, silent

if TYPE_CHECKING:  # imports torch, which a command that only prints has no need of
    from makar.core.nouns import Chunk
    from makar.engine.run import Answer
    from makar.train.metrics import Progress

    Show = Callable[[Progress], None]

EVERY = 10.0
"""Seconds between lines of progress where stderr is a file or a pipe."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that tell a terminal what to do, but for new lines and tabs."""

BETWEEN = "\n---\n"
"""What stands between two answers."""


def loud(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)


def say(*, quiet: bool) -> Say:
    """Where a command's words go."""
    return silent if quiet else loud


def first() -> bool:
    """Whether this process speaks: of those that torchrun started, the first one."""
    return os.environ.get("RANK", "0") == "0"


# Progress ---------------------------------------------------------------------------------------------------


@contextmanager
def training(*, quiet: bool) -> Generator[tuple[Say, "Show"]]:
    """Where training says its words and shows its progress: a bar on a terminal, now and then a line elsewhere.

    Args:
        quiet: Neither.
    """
    if quiet or not first():
        yield silent, lambda progress: None  # noqa: ARG005
    elif sys.stderr.isatty():
        with bar() as both:
            yield both
    else:
        yield loud, lines()


def lines() -> "Show":
    """Progress as plain lines: the first, the last, and one in ten seconds between them."""
    last = -math.inf

    def show(progress: "Progress") -> None:
        nonlocal last
        if progress.step == progress.steps or time.monotonic() - last >= EVERY:
            last = time.monotonic()
            loud(f"step {progress.step}/{progress.steps}  {numbers(progress)}")

    return show


@contextmanager
def bar() -> Generator[tuple[Say, "Show"]]:
    """Progress as a bar at the foot of the terminal; words scroll by above it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console, transient=True) as shown:
        task = shown.add_task("", visible=False)

        def show(progress: "Progress") -> None:
            shown.update(
                task, visible=True, completed=progress.step, total=progress.steps, description=numbers(progress)
            )

        yield lambda line: console.print(line, markup=False, soft_wrap=True), show


def numbers(progress: "Progress") -> str:
    """Loss, speed, share of the machine's measured peak, time left."""
    parts = [f"loss {progress.loss:.3f}", f"{quantity(progress.rate)} {progress.units}/s"]
    if progress.peak_share is not None:
        parts.append(f"{progress.peak_share:.0%} of peak")
    if math.isfinite(progress.seconds_left):
        parts.append(f"{duration(progress.seconds_left)} left")
    return "  ".join(parts)


def quantity(value: float) -> str:
    """A count in three figures: 740, 12.3k, 1.25M."""
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time as a person says it: 45 s, 3:20, 1:02:45."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


# Results ----------------------------------------------------------------------------------------------------


def emit(value: Any, text: Callable[[Any], str], *, as_json: bool) -> None:
    """Print a result: as text for a person, or as one JSON document."""
    if first():
        print(json.dumps(plain(value), indent=2, ensure_ascii=False) if as_json else text(value))


def plain(value: Any) -> Any:
    """A result as JSON holds it; what JSON has no word for (a path, a NaN) becomes text or null."""
    if isinstance(value, Config):
        return plain(value.model_dump(mode="json"))
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def adapters(words: Sequence[str]) -> dict[str, str]:
    """Adapters by the names that they are asked for by: "NAME=DIR", or a folder, which bears its own name.

    Raises:
        InputError: Two of one name.
    """
    found: dict[str, str] = {}
    for word in words:
        name, named, place = word.partition("=")
        if not named or Path(word).exists():
            name, place = re.sub("[^A-Za-z0-9_-]", "-", Path(word).resolve().name), word
        if name in found:
            fix = f"name one of them otherwise: --adapter OTHER={place}"
            raise InputError("two adapters of one name", where="--adapter", value=name, fix=fix)
        found[name] = place
    return found


# Answers ----------------------------------------------------------------------------------------------------


def prompts(prompt: str | None, file: Path | None) -> list[str | None]:
    """What is asked: the words on the command line, stdin for "-", or the lines of a file; None for nothing at all.

    Raises:
        InputError: Both are given, or the file cannot be read or has no line.
    """
    if prompt is not None and file is not None:
        raise InputError("a prompt and --from FILE are both given", value=prompt, fix="give one of the two")
    if file is None:
        return [sys.stdin.read().rstrip("\n") if prompt == "-" else prompt]
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as fault:
        raise InputError(f"cannot be read: {fault.strerror}", where=file, fix="name a text file") from None
    except UnicodeDecodeError as fault:
        raise InputError("is not UTF-8 text", where=file, value=f"byte {fault.start}", fix="save it as UTF-8") from None
    found: list[str | None] = [line for line in lines if line.strip()]
    if not found:
        raise InputError("holds no prompt", where=file, fix="write one prompt a line")
    return found


def settings(sets: Sequence[str]) -> dict[str, Any]:
    """Settings of generation from words such as "temperature=0.2".

    Raises:
        InputError: A word is no such thing.
    """
    from makar.recipes.load import toml_value

    found: dict[str, Any] = {}
    for item in sets:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise InputError("not a setting", where="--set", value=item, fix="write it as temperature=0.2")
        found[name.strip()] = toml_value(value.strip())
    return found


def check_out(out: Path | None) -> None:
    """Refuse a file that could not be written, before the work is done.

    Raises:
        InputError: It is a folder, or in none.
    """
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        what = "is a folder" if out.is_dir() else "its folder does not exist"
        raise InputError(what, where=out, fix="name a file in a folder that is there")


def show(text: str) -> None:
    """Text of a model on stdout, at once; a terminal is given no control characters, for it would obey them."""
    print(CONTROL.sub("\N{REPLACEMENT CHARACTER}", text) if sys.stdout.isatty() else text, end="", flush=True)


def write(chunks: Iterable["Chunk"], asked: Sequence[str], count: int, after: str = "") -> None:
    """Print answers as they come. Rows are made together: the first that is not done is shown live, the others wait.

    Args:
        chunks: From `api.stream`; row r answers `asked[r // count]`.
        asked: The prompts, each printed before its answers.
        count: Answers to each prompt.
        after: What follows each answer: the text behind a gap that it fills.
    """
    total, live = len(asked) * count, 0
    waiting = [asked[row // count] for row in range(total)]
    done = [False] * total

    show(waiting[0])
    for chunk in chunks:
        piece = (chunk.data or "") + after * chunk.done
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


def deliver(
    answers: "Sequence[Answer]",
    asked: Sequence[str],
    count: int,
    seed: int,
    out: Path | None,
    *,
    after: str = "",
    adapters: Sequence[str] = (),
    as_json: bool,
) -> None:
    """Write whole answers to a file or to stdout.

    Args:
        answers: From `api.generate`; answer r was made with seed + r % count.
        asked: The prompts, each for all adapters or for one after the other.
        count: Answers to each prompt.
        seed: Of the first answer to each.
        out: A file, whole or absent; stdout if None.
        after: What follows each answer in the text.
        adapters: Which answer in turn, where there are several.
        as_json: One document with all that is known of each answer.
    """
    each = len(answers) // len(asked)
    rows = [
        {"prompt": asked[r // each], "text": a.data, "seed": seed + r % count, "reason": a.reason, **a.info}
        | ({"adapter": adapters[r // count % len(adapters)]} if adapters else {})
        for r, a in enumerate(answers)
    ]
    if as_json:
        text = json.dumps(plain({"answers": rows}), indent=2, ensure_ascii=False)
    else:
        text = BETWEEN.join(f"{row['prompt']}{row['text'] or ''}{after}" for row in rows)
    if out is None:
        print(text)
    else:
        write_atomic(out, text + "\n")
