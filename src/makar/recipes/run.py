"""The run folder: one place that says everything of a run, and the workspace that holds runs and data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makar.core.config import nearest
from makar.core.errors import RecipeError, RunError
from makar.core.files import mending, read_json, write_atomic, write_json
from makar.core.say import Say
from makar.recipes.load import read_toml, to_toml
from makar.recipes.manifest import now


@dataclass(frozen=True)
class Workspace:
    """The folder that makar works in: collected data under `data/`, runs under `runs/`.

    Args:
        root: The current folder unless a test or a caller says otherwise.
    """

    root: Path = Path()

    @property
    def data(self) -> Path:
        """Where datasets are collected to."""
        return self.root / "data"

    @property
    def runs(self) -> Path:
        """Where runs are named folders."""
        return self.root / "runs"

    def run(self, name: str) -> "Run":
        """The run of a name; an absolute path stands for itself."""
        return Run(self.runs / name)

    def model(
        self,
        reference: str,
        say: Say = lambda line: None,  # noqa: ARG005
        besides: Sequence[str] = (),
    ) -> Path:
        """The model folder behind "@run", a path to a run or model folder, or a name such as "smollm2".

        A recipe of several stages stands for the last of them that is finished.

        Args:
            reference: As a recipe says it.
            say: Takes a line on a model that is fetched for its name.
            besides: Other references that could have been meant, such as the stages of the recipe.

        Raises:
            RecipeError: There is no such run or folder.
            RunError: The run has not finished.
            SourceError: A model of that name cannot be fetched.
        """
        from makar.engine.load import last_stage  # torch: only where a model is looked up

        if reference[0] == "@":
            run = Run(last_stage(self.run(reference[1:]).folder))
            if not run.manifest:
                known = sorted(f"@{path.parent.relative_to(self.runs)}" for path in self.runs.glob("**/manifest.json"))
                what = "no such stage or run" if besides else "no such run"
                raise RecipeError(what, where=self.runs, value=reference, fix=nearest(reference, [*besides, *known]))
        else:
            folder = Path(reference)
            if not folder.is_dir():
                from makar.interop.known import find_model, is_named

                if is_named(reference):
                    return find_model(reference, say)
                raise RecipeError("no such model folder", value=reference, fix="name a run or a model folder, or @run")
            run = Run(last_stage(folder))
            if not run.manifest:
                return folder
        if not run.finished:
            raise RunError("the run has not finished", where=run.folder, fix="run its own recipe to the end first")
        return run.model


@dataclass(frozen=True)
class Run:
    """A run folder: `recipe.toml manifest.json metrics.jsonl checkpoints/ samples/ model/`.

    Args:
        folder: Where it lies.
    """

    folder: Path

    @property
    def model(self) -> Path:
        """The finished model, in the ecosystem's own format."""
        return self.folder / "model"

    @property
    def samples(self) -> Path:
        """What the model wrote as it learned."""
        return self.folder / "samples"

    @property
    def metrics(self) -> Path:
        """One JSON object a logged step; the last line of a step holds."""
        return self.folder / "metrics.jsonl"

    @property
    def manifest(self) -> dict[str, Any]:
        """What is known of the run; empty before it begins."""
        path = self.folder / "manifest.json"
        return read_json(path) if path.is_file() else {}

    @property
    def finished(self) -> bool:
        """Whether the run reached its end and its model is whole."""
        return "finished" in self.manifest

    def check(self, recipe: Mapping[str, Any]) -> None:
        """Refuse a recipe that is not the one this folder began with.

        Args:
            recipe: The recipe's plain data, every default written out.

        Raises:
            RunError: Names the first field that differs.
        """
        path = self.folder / "recipe.toml"
        if not path.is_file():
            return
        change = difference(read_toml(path), recipe)
        if change is not None:
            field, before, after = change
            raise RunError(
                f"this run began with another recipe: {field} was {before}, now it is {after}",
                where=self.folder,
                fix="put it back, or begin another run with --run DIR",
            )

    def begin(self, recipe: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Write the recipe and the manifest at the first start; at a later one check the recipe and note the resume."""
        self.check(recipe)
        with mending(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        manifest = self.manifest
        if manifest:
            manifest["resumed"] = [*manifest.get("resumed", []), now()]
        else:
            write_atomic(self.folder / "recipe.toml", to_toml(recipe))
            manifest = {**facts, "started": now()}
        write_json(self.folder / "manifest.json", manifest)

    def note(self, **facts: Any) -> None:
        """Add facts to the manifest."""
        write_json(self.folder / "manifest.json", {**self.manifest, **facts})


HERE = Workspace()
"""The current folder."""


def difference(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> tuple[str, Any, Any] | None:
    """The first field whose value differs between two recipes, with both values; "absent" stands for none."""
    for key in dict.fromkeys((*after, *before)):
        old, new = before.get(key, "absent"), after.get(key, "absent")
        name = f"{path}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inner = difference(old, new, f"{name}.")
            if inner is not None:
                return inner
        elif old != new:
            return name, old, new
    return None
