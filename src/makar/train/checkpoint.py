"""Checkpoints: written beside, forced to the disk, renamed into place; `latest` moves last.

checkpoints/step-00001000/state.safetensors     weights, optimizers, average, a source's state
checkpoints/step-00001000/state.json            its sha256, the history, whose run it is, and a checksum of all that
checkpoints/latest                              the name of the newest
"""

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from makar.core.errors import ModelError, RunError, UserError
from makar.core.files import folder_atomic, mending, read_sealed, sha256, write_atomic, write_sealed
from makar.core.say import Say
from makar.core.tensors import load_tensors, save_tensors

KEPT = 2  # the newest so many; and the best, and the one to go back to


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on from where it was.

    Args:
        step: Completed steps.
        tensors: By name.
        state: Plain data.
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def name_of(step: int) -> str:
    """The folder of a checkpoint."""
    return f"step-{step:08d}"


def steps_in(folder: Path) -> list[int]:
    """The steps that have a checkpoint, newest first."""
    return sorted((int(path.name[5:]) for path in folder.glob("step-*") if path.name[5:].isdigit()), reverse=True)


def save(folder: Path, checkpoint: Checkpoint, keep: Collection[int | None] = ()) -> None:
    """Write a checkpoint, point `latest` at it, and drop all but the newest and those of the steps to keep.

    Raises:
        ResourceError: No space or no permission; what was there stays good.
    """
    with folder_atomic(folder / name_of(checkpoint.step)) as place:
        save_tensors(place / "state.safetensors", checkpoint.tensors)
        state = {"step": checkpoint.step, "sha256": sha256(place / "state.safetensors"), **checkpoint.state}
        write_sealed(place / "state.json", state)
    write_atomic(folder / "latest", name_of(checkpoint.step) + "\n")
    kept = {*[s for s in steps_in(folder) if s <= checkpoint.step][:KEPT], *keep}
    for step in steps_in(folder):
        if step not in kept:
            remove(folder / name_of(step))


def forget(folder: Path, step: int) -> None:
    """Drop the checkpoints after a step that has one, and point `latest` at it."""
    write_atomic(folder / "latest", name_of(step) + "\n")
    for later in steps_in(folder):
        if later > step:
            remove(folder / name_of(later))


def remove(path: Path) -> None:
    """Delete a checkpoint; renamed first, so that half of one never looks whole."""
    aside = path.with_name(f".{path.name}.old")
    with mending(path):
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        shutil.rmtree(aside)


def tidy(folder: Path) -> None:
    """Remove what a killed process left half-written. Only for the holder of the run's lock."""
    for leftover in folder.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def load(folder: Path, step: int) -> Checkpoint:
    """Read one checkpoint and check every byte.

    Raises:
        UserError: It is missing or damaged.
    """
    place = folder / name_of(step)
    state = verified(place)
    return Checkpoint(step, load_tensors(place / "state.safetensors"), state)


def verified(place: Path) -> dict[str, Any]:
    """The plain data of a checkpoint, once the checksums of both its files are found right.

    Args:
        place: The checkpoint's own folder.

    Raises:
        UserError: It is missing or damaged.
    """
    state, file = read_sealed(place / "state.json"), place / "state.safetensors"
    if not file.exists():
        raise ModelError("tensor file is missing", where=file, fix="remove this checkpoint's folder")
    if state.get("sha256") != sha256(file):
        fix = "remove its folder: the run goes on from the one before"
        raise ModelError("checkpoint is damaged: its checksum differs", where=file, fix=fix)
    return state


def newest(folder: Path, say: Say, upto: int | None = None) -> Checkpoint | None:
    """The newest good checkpoint: the one that `latest` names, or else the one before, with a word said.

    Args:
        folder: `checkpoints` of a run.
        say: For the word.
        upto: Completed steps that it has at most.

    Returns:
        None for a folder without checkpoints.

    Raises:
        RunError: There are checkpoints and all are damaged.
    """
    steps = [step for step in steps_in(folder) if upto is None or step <= upto]
    latest = folder / "latest"
    named = latest.read_text(encoding="utf-8", errors="replace").strip() if latest.exists() else ""
    for step in sorted(steps, key=lambda s: name_of(s) != named):
        try:
            return load(folder, step)
        except UserError as fault:
            say(f"{fault}; going back to the checkpoint before")
    if steps:
        raise RunError("no good checkpoint is left", where=folder, fix="start again with another --run")
    return None


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested plain data as one level, by dotted names, as JSON gives it back."""
    if not isinstance(value, Mapping):
        return {path: json.loads(json.dumps(value))}
    found: dict[str, Any] = {}
    for name, inner in cast(Mapping[str, Any], value).items():
        found |= flat(inner, f"{path}.{name}" if path else name)
    return found


def check_identity(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that another recipe, corpus or tokenizer made.

    Raises:
        RunError: Names what differs.
    """
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if differing:
        first = differing[0]
        raise RunError(
            f"the checkpoints here are of another run: {', '.join(differing)} differ{'s' * (len(differing) == 1)}",
            where=folder,
            value=wanted.get(first),
            fix=f"they have {found.get(first)!r}; name another folder with --run, or put the recipe back",
        )
