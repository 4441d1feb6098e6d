"""Opens a model, however it is named: a model folder, an adapter's folder, a run folder, or a run's name."""

import difflib
import json
from pathlib import Path
from typing import Any

from makar.core.errors import ModelError
from makar.core.nouns import Model
from makar.engine.adapters import CONFIG, base_of, is_adapter, load_adapter, merged
from makar.families.table import CONFIGS, family

INDEXES = (CONFIG, "config.json", "model_index.json")
"""The file that says what a folder holds: an adapter, a model of transformers or diffusers, a pipeline of several."""

STAGES = "stages.json"
"""In the folder of a recipe of several stages: the names of their runs beside it, in order."""

RUNS = Path("runs")
"""Where runs lie that are called by their name alone."""


def open_model(path: Path | str) -> Model[Any]:
    """Open a model.

    Args:
        path: A model folder (config.json and weights), an adapter's folder (its base is opened, and an adapter that
            this may be is merged), a run folder (its `model/` is opened), or the name of a run under `./runs`.

    Raises:
        ModelError: There is no such folder, it holds no model, no family knows it, or its files are damaged.
    """
    folder = find_model(Path(path))
    adapters: list[Path] = []
    while is_adapter(folder):
        if folder in adapters:
            raise ModelError("these adapters are each other's base", where=folder, fix="name the model below them")
        adapters.append(folder)
        folder = find_model(base_of(folder))
    model = open_plain(folder)
    for adapter in reversed(adapters):
        model = load_adapter(merged(model), adapter)
    return model


def open_plain(folder: Path) -> Model[Any]:
    """Open a model folder by the family that knows it.

    Raises:
        ModelError: None does, or the files are damaged.
    """
    for name in CONFIGS:
        found = family(name)
        if found.folder.recognises(folder):
            return found.folder.load(folder)
    raise ModelError(
        "no family knows this kind of model",
        where=folder,
        value=kind_of(folder),
        fix=f"makar opens models of these families: {', '.join(CONFIGS)}",
    )


def find_model(path: Path) -> Path:
    """The model folder that a path or a run's name means.

    Raises:
        ModelError: With what is there instead, or the nearest name.
    """
    place = path if path.exists() else RUNS / path
    if not place.exists():
        names = [run.name for run in sorted(RUNS.glob("*")) if run.is_dir()]
        near = difflib.get_close_matches(path.name, names, 1, 0.5)
        fix = f"did you mean {near[0]!r}?" if near else "name a model folder, a run folder or a run"
        raise ModelError("no such model or run", where=path, fix=fix)
    if not place.is_dir():
        raise ModelError("is a file, not a model folder", where=place, fix="name the folder that holds it")
    place = last_stage(place)
    if (place / "recipe.toml").exists() and not (place / "model").is_dir():
        raise ModelError("this run has no finished model yet", where=place, fix="run its `makar train` again to finish")
    model = place / "model" if (place / "model").is_dir() else place
    if not any((model / name).is_file() for name in INDEXES):
        raise ModelError("this folder holds no model: config.json is missing", where=model, fix="copy the whole folder")
    return model


def last_stage(place: Path) -> Path:
    """The folder itself; of a recipe in several stages, the run of the last one that is finished."""
    if not (place / STAGES).is_file():
        return place
    stages = [place / name for name in json.loads((place / STAGES).read_text(encoding="utf-8"))]
    finished = [stage for stage in stages if (stage / "model").is_dir()]
    return finished[-1] if finished else stages[0]


def kind_of(folder: Path) -> object:
    """What a model folder says that it holds.

    Raises:
        ModelError: It is not JSON.
    """
    index = next(folder / name for name in INDEXES if (folder / name).is_file())
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise ModelError(f"not valid JSON: {fault}", where=index, fix="copy the whole folder again") from None
    named = content if isinstance(content, dict) else {}
    return named.get("model_type") or named.get("_class_name") or "no model_type"
