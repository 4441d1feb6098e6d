"""How an answer is made: the settings of a request, for every family."""

from typing import Any, TypeVar

from makar.core.config import Config, parse
from makar.core.errors import InputError
from makar.core.nouns import Model, Request

Settings = TypeVar("Settings", bound=Config)


def settings_of(model: Model[Any], request: Request, kind: type[Settings]) -> Settings:
    """The request's settings, or the model's own defaults.

    Args:
        model: For its defaults.
        request: With settings or without.
        kind: The family's settings.

    Raises:
        InputError: They are of another family.
        RecipeError: The model's defaults are not the family's.
    """
    if isinstance(request.settings, kind):
        return request.settings
    if request.settings is not None:
        what, value = "these settings belong to another family", type(request.settings).__name__
        raise InputError(what, value=value, fix=f"give {kind.__name__}")
    return parse(kind, model.generation, "the model's generation defaults")


def square(settings: Settings) -> Settings:
    """Settings of generation without a height and a width: what is compared with a dataset's squares is one."""
    sides = {side: None for side in ("height", "width") if side in type(settings).model_fields}
    return settings.model_copy(update=sides) if sides else settings
