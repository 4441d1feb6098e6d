"""The picture of a run: training and validation loss over the steps, from `metrics.jsonl` alone."""

import io
from pathlib import Path

from makar.core.errors import ResourceError
from makar.core.files import write_atomic
from makar.train.metrics import read_metrics

Curve = list[tuple[int, float]]


def loss_curves(metrics: Path) -> dict[str, Curve]:
    """Every loss of a run by name, as (step, value); those of a watch after its name."""
    curves: dict[str, Curve] = {}
    for kind in ("train", "watch"):
        for line in read_metrics(metrics, kind):
            for name, value in line.items():
                if name.split("/")[-1] == "loss" and value is not None:
                    whose = f"{line['watch']}/{name}" if kind == "watch" else name
                    curves.setdefault(whose, []).append((line["step"], value))
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
    for name, curve in loss_curves(metrics).items():
        watched = name.startswith("validation/")
        label = name.replace("/loss", "") if watched else name.replace("loss", "training").replace("/", ", ")
        style = {"marker": "o", "linewidth": 2, "zorder": 3} if watched else {"linewidth": 0.8}
        axes.plot(*zip(*curve, strict=True), label=label, **style)  # pyright: ignore[reportArgumentType]
    axes.set(title=title, xlabel="optimizer step", ylabel="loss (nats)")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomic(out, picture.getvalue())
