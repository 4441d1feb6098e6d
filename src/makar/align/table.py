"""The objectives of alignment by name, and what a recipe may say of each."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from makar.align.config import fitting
from makar.align.direct import direct
from makar.align.policy import POLICIES
from makar.align.preference import PREFERENCES
from makar.align.reward_model import BradleyTerry
from makar.align.rollouts import Estimate, Penalty, by_group, by_others, by_values
from makar.core.nouns import Objective

OURS = ("self", "players", "reference", "at_once", "max_parts", "model", "rewards", "prompts")
"""Arguments that a recipe does not give: they follow from the rest of it."""


@dataclass(frozen=True)
class Algorithm:
    """How an objective is made, and the advantages that it learns from.

    Args:
        objective: From options to the objective.
        estimate: From options to advantages; None where there are no rollouts.
        penalty: From options to a divergence as part of the reward; None where it is none.
        foresees: Whether there is a value head.
    """

    objective: Callable[..., Objective[Any]]
    estimate: Callable[..., Estimate] | None = None
    penalty: Callable[..., Penalty] | None = None
    foresees: bool = False

    @property
    def makers(self) -> list[Callable[..., Any]]:
        """All that takes options."""
        return [make for make in (self.objective, self.estimate, self.penalty) if make is not None]

    @property
    def compares(self) -> bool:
        """Whether the objective itself asks for a reference."""
        return "reference" in inspect.signature(self.objective).parameters


ALGORITHMS: Mapping[str, Algorithm] = {
    **{name: Algorithm(make) for name, make in PREFERENCES.items()},
    "reward": Algorithm(BradleyTerry),
    "grpo": Algorithm(POLICIES["grpo"], by_group),
    "rloo": Algorithm(POLICIES["rloo"], by_others, Penalty),
    "ppo": Algorithm(POLICIES["ppo"], by_values, Penalty, foresees=True),
    "direct": Algorithm(direct),
}


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that an objective does not know.

    Raises:
        RecipeError: Names the nearest one that it knows, what a value must be, or which do not go together.
    """
    known = {option: kind for make in ALGORITHMS[name].makers for option, kind in open_options(make).items()}
    fitting(known, options, "objective.options")
    if not ALGORITHMS[name].compares:
        ALGORITHMS[name].objective(**given_to(ALGORITHMS[name].objective, options))


def given_to(make: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that are one maker's."""
    return {name: value for name, value in options.items() if name in open_options(make)}


def open_options(make: Callable[..., Any]) -> dict[str, Any]:
    """The options that a recipe may give to a maker, with their types."""
    parameters = inspect.signature(make).parameters
    return {name: parameter.annotation for name, parameter in parameters.items() if name not in OURS}
