"""The picture of a run: training and validation loss over the steps, from `metrics.jsonl` alone."""

import io
import json
from pathlib import Path
from typing import Any

from makar.core.errors import ResourceError
from makar.core.files import write_atomic

Curve = list[tuple[int, float]]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run, one mapping a step in order; where a step's field is written twice, the later one holds.

    A last line that a crash cut short is left out.
    """
    steps: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        steps.setdefault(entry["step"], {}).update(entry)
    return [steps[step] for step in sorted(steps)]


def loss_curves(metrics: list[dict[str, Any]]) -> dict[str, Curve]:
    """Every loss by name, as (step, value)."""
    curves: dict[str, Curve] = {}
    for entry in metrics:
        for name, value in entry.items():
            if name.split("/")[-1] == "loss" and isinstance(value, int | float):
                curves.setdefault(name, []).append((entry["step"], float(value)))
    return curves


def draw_loss(metrics: Path, out: Path, title: str) -> None:
    """Draw the losses of a run.

    Args:
        metrics: The run's `metrics.jsonl`.
        out: A PNG file.
        title: Says which run it is.

    Raises:
        ResourceError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ResourceError("the chart needs matplotlib", where=out, fix="pip install 'makar[charts]'") from None
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in loss_curves(read_metrics(metrics)).items():
        watched = name.startswith("validation/")
        label = "validation" if watched else name.replace("loss", "training").replace("/", ", ")
        style = {"marker": "o", "linewidth": 2, "zorder": 3} if watched else {"linewidth": 0.8}
        axes.plot(*zip(*curve, strict=True), label=label, **style)  # pyright: ignore[reportArgumentType]
    axes.set(title=title, xlabel="optimizer step", ylabel="loss (nats)")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomic(out, picture.getvalue())
