"""A person's own function as a reward, from a file beside the recipe."""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from makar.align.config import text_of
from makar.core.config import nearest
from makar.core.errors import RecipeError


def split_name(function: str) -> tuple[Path, str]:
    """The file and the name of "file.py:name".

    Raises:
        RecipeError: It is of another form, or there is no such file.
    """
    place, colon, name = function.rpartition(":")
    if not colon or not name.isidentifier() or not place:
        raise RecipeError("not a function", where="reward.python", value=function, fix="write it as module:function")
    path = Path(place)
    if not path.is_file():
        fix = "put the module beside the recipe"
        raise RecipeError("no such file", where="reward.python", value=str(path), fix=fix)
    return path, name


def load_function(function: str) -> Callable[..., Any]:
    """Load "file.py:name".

    Raises:
        RecipeError: The file does not load, or holds no such function.
    """
    path, name = split_name(function)
    spec = importlib.util.spec_from_file_location(f"makar_reward_{path.stem}", path)
    assert spec is not None and spec.loader is not None, "it ends in .py"  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as fault:
        what = f"the module does not load: {type(fault).__name__}: {fault}"
        raise RecipeError(what, where=path, fix="mend it") from fault
    chosen: Any = vars(module).get(name)
    if not callable(chosen):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise RecipeError("no such function", where=path, value=name, fix=nearest(name, known))
    return cast(Callable[..., Any], chosen)


def source_hash(table: Mapping[str, Any]) -> str | None:
    """The SHA-256 of a person's own function's file, by which a checkpoint knows its reward; None without one."""
    chosen = text_of(table, "python", "function")
    return None if chosen is None else hashlib.sha256(split_name(chosen)[0].read_bytes()).hexdigest()
