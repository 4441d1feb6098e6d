"""Typed settings. A misspelt key is an error that names the nearest one, never a silent default."""

import difflib
from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from makar.core.errors import RecipeError, shorten


class Config(BaseModel):
    """Frozen and strict: every settings class of makar derives from it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


C = TypeVar("C", bound=BaseModel)


def parse(cls: type[C], data: Mapping[str, Any], where: object) -> C:
    """Validate plain data against a settings class.

    Args:
        cls: The settings class.
        data: What was read, say from TOML.
        where: The file or command that it came from, for the message.

    Raises:
        RecipeError: With the path of the first fault, its value, what is allowed and the nearest name.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as fault:
        raise explain(fault, cls, where) from None


def explain(fault: ValidationError, cls: type[BaseModel], where: object) -> RecipeError:
    """Turn the first fault of a validation into one line that a person can act on.

    An unknown key is reported before anything else, because a typo is often the cause of the rest.
    """
    errors = sorted(fault.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = errors[0]
    loc = [str(part) for part in first["loc"]]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    path = ".".join(loc)
    if first["type"] == "extra_forbidden":
        names = field_names(cls, loc[:-1])
        near = difflib.get_close_matches(loc[-1], names, 1, 0.5)
        fix = f"did you mean {near[0]!r}?" if near else f"allowed here: {', '.join(sorted(names))}"
        return RecipeError(f"unknown field {path!r}{more}", where=where, value=first["input"], fix=fix)
    if first["type"] == "missing":
        return RecipeError(f"field {path!r} is missing{more}", where=where, fix=f"add {loc[-1]!r}")
    message = first["msg"].removeprefix("Value error, ")
    what = f"field {path!r}{more}" if path else f"the settings do not fit together{more}"
    if not path:
        return RecipeError(what, where=where, fix=message)
    return RecipeError(
        what, where=where, value=first["input"], fix=message[:1].lower() + shorten(message[1:], 400)[1:-1]
    )


def field_names(cls: Any, loc: list[str]) -> list[str]:
    """The names a settings class allows at a path inside it; of a union, those of the member that the path picks."""
    if not loc:
        found: list[str] = []
        for member in members(cls):
            found += list(member.model_fields)
        return sorted(set(found))
    names: list[str] = []
    for member in members(cls):
        if loc[0] in member.model_fields:
            names += field_names(member.model_fields[loc[0]].annotation, loc[1:])
        elif member.__name__ == loc[0] or loc[0] in tags(member):  # pydantic puts a union's tag in the path
            names += field_names(member, loc[1:])
    if not names and not members(cls):
        for argument in get_args(cls):  # list[X], dict[str, X]: the path holds the index or the key
            names += field_names(argument, loc[1:])
    return sorted(set(names))


def members(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that an annotation may hold: itself, or the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType) or hasattr(annotation, "__metadata__"):
        return [found for argument in get_args(annotation) for found in members(argument)]
    return []


def tags(cls: type[BaseModel]) -> list[str]:
    """The literal defaults of a settings class: the value that picks it out of a tagged union."""
    return [f.default for f in cls.model_fields.values() if isinstance(f.default, str)]
