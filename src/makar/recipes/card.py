"""The model card: what a model was made from, how, how well, and where it ends; written from the run's manifest alone."""

from collections.abc import Mapping
from typing import Any

from makar.core.files import write_atomic
from makar.recipes.run import Run

Manifest = Mapping[str, Any]


def write_card(run: Run) -> None:
    """Write `model/README.md` of a finished run; again after each evaluation."""
    write_atomic(run.model / "README.md", card(run.manifest))
