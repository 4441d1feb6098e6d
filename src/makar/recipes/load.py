"""Read a recipe file: find it, set fields from the command line, put its stages in order. Imports no torch."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, cast

from makar.align.config import beside, text_of
from makar.core.config import nearest, parse
from makar.core.errors import RecipeError
from makar.recipes.recipe import Recipe, Stages

SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class RecipeFile:
    """What a file holds, ready to run.

    Args:
        name: The run's name, or the absolute path of its folder.
        stages: By the name of each stage's own run, "NAME" or "NAME/STAGE", in an order in which they can run.
    """

    name: str
    stages: Mapping[str, Recipe]


def load_recipe(
    source: str | Path, sets: Sequence[str] = (), run: Path | None = None, stage: str | None = None
) -> RecipeFile:
    """Read a recipe.

    Args:
        source: A TOML file, or the name of a shipped recipe.
        sets: Fields to change, each "a.b=value" with the value as TOML writes it; quotes may be left out of a string.
        run: The run's folder; named after the file if left out.
        stage: Take this one of several stages alone. `run` is then its own folder, while what it begins from stays
            where the whole recipe puts it: so a stage is repeated beside its first run.

    Raises:
        RecipeError: No such recipe, no such stage, not TOML, a field unknown or of a bad value, stages in a circle.
    """
    path = find(source)
    data = read_toml(path)
    for item in sets:
        put(data, item)
    where = " with ".join([str(path), *(f"--set {item}" for item in sets)])
    name = str(run.absolute()) if run else path.stem
    if "stages" not in data:
        if stage is not None:
            raise RecipeError("the recipe has one stage alone", where=where, value=stage, fix="leave --stage out")
        return RecipeFile(name, {name: placed(parse(Recipe, data, where), path.parent)})
    stages = {key: placed(each, path.parent) for key, each in parse(Stages, data, where).stages.items()}
    if stage is not None:
        if stage not in stages:
            raise RecipeError("no such stage", where=where, value=stage, fix=nearest(stage, list(stages)))
        alone = name if run else f"{name}/{stage}"
        return RecipeFile(alone, {alone: qualified(stages[stage], path.stem, stages)})
    return RecipeFile(name, {f"{name}/{s}": qualified(stages[s], name, stages) for s in ordered(stages, where)})


def shipped() -> list[str]:
    """The names of the recipes that come with makar."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find(source: str | Path) -> Path:
    """A recipe file by its path or by the name of a shipped one."""
    path, inside = Path(source), SHIPPED / f"{source}.toml"
    if path.is_file():
        return path
    if inside.is_file():
        return inside
    raise RecipeError("no such recipe", value=str(source), fix=nearest(str(source), shipped()))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        RecipeError: It is not TOML, or not text.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise RecipeError(f"not valid TOML: {fault}", where=path, fix="mend that line") from None
    except OSError as fault:
        raise RecipeError(f"the file cannot be read: {fault.strerror}", where=path, fix="change its mode") from None


def put(data: dict[str, Any], item: str) -> None:
    """Set one field of a recipe's plain data from "a.b=value"."""
    path, equals, text = item.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise RecipeError("not a setting", where="--set", value=item, fix="write it as train.steps=1000")
    if "stages" in data and keys[0] != "stages":
        stages = ", ".join(data["stages"]) if isinstance(data["stages"], dict) else ""
        fix = f"say which: stages.NAME.{path}; the stages are {stages}"
        raise RecipeError("the recipe has several stages", where="--set", value=item, fix=fix)
    table = data
    for depth, key in enumerate(keys[:-1], 1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            field = ".".join(keys[:depth])
            raise RecipeError(f"field {field!r} holds no fields", where="--set", value=item, fix=f"set {field} itself")
    table[keys[-1]] = toml_value(text.strip())


def toml_value(text: str) -> Any:
    """A value as TOML writes it; what is not TOML is a string."""
    try:
        data = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return data["value"] if len(data) == 1 else text


def ordered(stages: Mapping[str, Recipe], where: object) -> list[str]:
    """The stages in an order in which each finds what it begins from.

    Raises:
        RecipeError: They begin from each other in a circle, which it names.
    """
    needs = {
        name: [r[1:] for r in stage.references if r[0] == "@" and r[1:] in stages] for name, stage in stages.items()
    }
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as fault:
        circle = " → ".join(reversed(fault.args[1]))
        fix = "let one of them begin anew"
        raise RecipeError(f"the stages begin from each other in a circle: {circle}", where=where, fix=fix) from None


def placed(recipe: Recipe, folder: Path) -> Recipe:
    """A recipe whose reward functions are found from anywhere: they lie beside its file."""
    return recipe.model_copy(update={"reward": beside(recipe.reward, folder)}) if recipe.reward else recipe


def qualified(stage: Recipe, name: str, stages: Mapping[str, Recipe]) -> Recipe:
    """A stage whose references to its neighbours name their runs, so that it stands alone in its own run folder."""

    def full(reference: str) -> str:
        return f"@{name}/{reference[1:]}" if reference[0] == "@" and reference[1:] in stages else reference

    changed: dict[str, Any] = {"parts": {k: full(v) for k, v in stage.parts.items()}}
    if stage.init:
        changed["init"] = full(stage.init)
    judge = text_of(stage.reward or {}, "model", "path")
    if stage.reward and judge:
        changed["reward"] = {
            **stage.reward,
            "model": {**cast(dict[str, Any], stage.reward["model"]), "path": full(judge)},
        }
    return stage.model_copy(update=changed)


def to_toml(data: Mapping[str, Any]) -> str:
    """Plain data as TOML: scalars before tables, tables by their full names."""
    return "\n".join(lines(data, ())).strip() + "\n"


def lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """The lines of one table and of those inside it."""
    found = [f"{bare(key)} = {literal(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    if path and (found or not table):
        found.insert(0, f"\n[{'.'.join(map(bare, path))}]")
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += lines(value, (*path, key))
    return found


def bare(key: str) -> str:
    """A key, quoted where it must be."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else literal(key)


def literal(value: Any) -> str:
    """A scalar or a list as TOML writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{bare(k)} = {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
