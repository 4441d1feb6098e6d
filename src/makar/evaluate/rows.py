"""Figures over the rows of a dataset: what each row scores, as a mean with its standard error and its count."""

import math
from collections.abc import Mapping, Sequence

from makar.evaluate.report import Figure, Value

Rows = Sequence[float]

ERROR, COUNT = "standard error", "count"
"""Columns that say how sure the model's figure is, and over how many rows it was taken."""


def over_rows(
    meaning: str, scores: Mapping[str, Rows], unit: str = "", *, sizes: Mapping[str, Rows] | None = None
) -> Figure:
    """A figure of the model's rows, beside the same of other rows.

    Args:
        meaning: What it is, in a line.
        scores: What each row scores, by whose rows they are; "model" has the error and the count.
        unit: "%" for shares.
        sizes: Out of how much each row scores that, such as its lines; 1 where not said. A row of size 0 is left out.
    """
    sized = {name: sizes[name] if sizes else [1.0] * len(rows) for name, rows in scores.items()}
    values: dict[str, Value] = {name: ratio(rows, sized[name])[0] for name, rows in scores.items()}
    error = ratio(scores["model"], sized["model"])[1]
    return Figure(meaning, values | {ERROR: error, COUNT: sum(size > 0 for size in sized["model"])}, unit)


def ratio(scores: Rows, sizes: Rows) -> tuple[float | None, float | None]:
    """The sum of some rows' scores over the sum of their sizes, and its standard error by the delta method.

    Of rows of size 1 that is their mean and the mean's standard error. None where there are no rows, or for the error
    fewer than two.
    """
    rows = [(score, size) for score, size in zip(scores, sizes, strict=True) if size > 0]
    if not rows:
        return None, None
    total = math.fsum(size for _, size in rows)
    value = math.fsum(score for score, _ in rows) / total
    if len(rows) < 2:
        return value, None
    residue = math.fsum((score - value * size) ** 2 for score, size in rows)
    return value, math.sqrt(residue * len(rows) / (len(rows) - 1)) / total
