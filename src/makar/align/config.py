"""Settings of rollouts and rewards, and what each objective of alignment learns from; imports no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field, TypeAdapter, ValidationError

from makar.core.config import Config, nearest
from makar.core.errors import RecipeError

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
"""What options may be; `fitting` refuses others."""


class RolloutConfig(Config):
    """How answers, or pictures, are made to learn from.

    Args:
        group: Answers to each prompt; a step's rows are whole groups. Of pictures, those that a pair is chosen of.
        max_tokens: An answer ends after so many tokens.
        temperature: Divides the logits as answers are drawn. The loss is of the model as it is: keep it near 1.
        batches: Optimizer batches that one rollout is cut into.
        epochs: How often a rollout is gone through before the next is made.
        watch_every: Steps between looks at held-out prompts; a tenth of the run if left out.
        max_perplexity_rise: Of held-out answers, under the model that training began with, at which the run is
            stopped; 0.25 is a quarter.
        max_distinct_fall: Of their distinct word pairs, at which it is stopped.
        max_distance_rise: Of held-out pictures' Fréchet distance from real ones, at which it is stopped.
    """

    group: int = Field(default=8, gt=1)
    max_tokens: int = Field(default=64, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    batches: int = Field(default=1, gt=0)
    epochs: int = Field(default=1, gt=0)
    watch_every: int | None = Field(default=None, gt=0)
    max_perplexity_rise: float = Field(default=0.25, gt=0)
    max_distinct_fall: float = Field(default=0.2, gt=0, le=1)
    max_distance_rise: float = Field(default=0.1, gt=0)


RewardTable = dict[str, float | dict[str, Any]]
"""A recipe's rewards: a weight for each rule, or a table with the `weight` (1 if left out) and the rule's options."""

ROWS: Mapping[str, str] = {
    "dpo": "preference",
    "ipo": "preference",
    "orpo": "preference",
    "simpo": "preference",
    "reward": "preference",
    "kto": "judged",
    "grpo": "prompts",
    "rloo": "prompts",
    "ppo": "prompts",
    "direct": "image",
}
"""The objectives of alignment, and the kind of rows that each learns from."""

PICTURE_ROWS = ("image", "captioned", "scenes")
"""Rows whose classes or captions a model is asked to make pictures of, and whose pictures these are compared with."""

OF_PICTURES = ("dpo", "ipo", "simpo", "direct")
"""The objectives that learn from pictures which the model makes and rewards judge."""

UNCOMPARED = ("orpo", "simpo", "reward")
"""Those that look at no reference."""


def beside(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A recipe's rewards with "module:function" as the absolute path of a module beside the recipe.

    Args:
        table: As it stands in the recipe.
        folder: The recipe's.
    """
    found = dict(table)
    chosen = text_of(table, "python", "function")
    if chosen is not None:
        place, colon, name = chosen.rpartition(":")
        path = Path(place if place.endswith(".py") else f"{place.replace('.', '/')}.py")
        found["python"] = {**found["python"], "function": f"{(folder / path).absolute()}{colon}{name}"}
    return found


def text_of(table: Mapping[str, Any], reward: str, name: str) -> str | None:
    """A text among the options of a reward; None where the recipe has no such reward or option."""
    given = table.get(reward)
    value = cast(Mapping[str, Any], given).get(name) if isinstance(given, Mapping) else None
    return value if isinstance(value, str) else None


def fitting(known: Mapping[str, Any], options: Mapping[str, Any], where: str, besides: Sequence[str] = ()) -> None:
    """Refuse options of unknown names or wrong types.

    Args:
        known: Names and types.
        options: What was given.
        where: In the recipe, for errors.
        besides: Other names that could have been meant.
    """
    for name, value in options.items():
        if name not in known:
            raise RecipeError(f"no such option {name!r}", where=where, fix=nearest(name, [*known, *besides]))
        try:
            TypeAdapter(known[name]).validate_python(value, strict=True)
        except ValidationError as fault:
            fix = fault.errors()[0]["msg"].replace("Input should be", "it must be")
            raise RecipeError(f"option {name!r}", where=where, value=value, fix=fix) from None
