"""Typed settings. A misspelt key is an error that names the nearest one, never a silent default."""

import difflib
import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from makar.core.errors import RecipeError


class Config(BaseModel):
    """Frozen and strict: every settings class of makar derives from it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


C = TypeVar("C", bound=BaseModel)

Positive = Annotated[int, Field(gt=0)]
"""A whole number above 0, among others in a list."""

TOML_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("tuple_type", "list_type", "set_type", "frozen_set_type"), "a list, such as [1, 2]"),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type"), "a table, such as {name = value}"
    ),
}
"""Pydantic's words for kinds of values that a recipe's author knows by TOML's."""


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
    found = [error for error in fault.errors() if error["type"] != "default_factory_not_called"]  # follows from another
    errors = sorted(found, key=lambda e: e["type"] != "extra_forbidden")
    first = errors[0]
    loc, context = [str(part) for part in first["loc"]], first.get("ctx", {})
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    path = ".".join(spoken(cls, loc))
    value: Any = first["input"]
    match first["type"]:
        case "extra_forbidden":
            return RecipeError(f"unknown field {path!r}{more}", where=where, value=value, fix=allowed(cls, loc))
        case "missing":
            return RecipeError(f"field {path!r} is missing{more}", where=where, fix=f"add {loc[-1]!r}")
        case "union_tag_not_found":
            path = f"{path}.{context['discriminator'].strip(chr(39))}"
            return RecipeError(f"field {path!r} is missing{more}", where=where, fix="it says which kind this is")
        case "union_tag_invalid":
            path, value = f"{path}.{context['discriminator'].strip(chr(39))}", context["tag"]
            fix = choices(value, context["expected_tags"])
        case "literal_error" | "enum":
            fix = choices(value, context["expected"])
        case kind if kind in TOML_KINDS:
            fix = f"it must be {TOML_KINDS[kind]}"
        case _:
            message = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
            fix = message[:1].lower() + re.sub(" or instance of .*", "", message[1:])
    if isinstance(value, Mapping):  # several fields that do not fit together: the message names them
        value = None
    what = f"field {path!r}{more}" if path else f"the settings do not fit together{more}"
    return RecipeError(what, where=where, value=value, fix=fix)


def allowed(cls: Any, loc: list[str]) -> str:
    """What could have been meant by the last name of a path."""
    return nearest(loc[-1], field_names(cls, loc[:-1]))


def nearest(name: str, known: Sequence[str]) -> str:
    """What a name may have meant, as the fix of an error: the nearest of the known ones, or all of them."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"


def choices(value: object, expected: str) -> str:
    """The values that a field takes, the one nearest to the value given before the others.

    Args:
        value: What was given.
        expected: Pydantic's list of quoted names: "'adamw' or 'muon'".
    """
    near = difflib.get_close_matches(str(value), re.findall(r"'([^']*)'", expected), 1, 0.5)
    return f"did you mean {near[0]!r}? it is one of {expected}" if near else f"it is one of {expected}"


def spoken(cls: Any, loc: list[str]) -> list[str]:
    """A path as it is written in the file: pydantic puts the tags of unions in, and they are taken out."""
    if not loc:
        return []
    here, rest = loc[0], loc[1:]
    for member in members(cls):
        if here in member.model_fields:
            return [here, *spoken(member.model_fields[here].annotation, rest)]
    for member in members(cls):
        if member.__name__ == here or here in tags(member):
            return spoken(member, rest)
    inner = next((argument for argument in get_args(cls) if members(argument)), None)
    return [here, *spoken(inner, rest)]


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
