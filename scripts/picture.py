"""The README's picture, from a run folder: the loss curve, and what the model wrote along it.

`python -m scripts.picture runs/poems docs/images/learning.png`
"""

import sys
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from makar.recipes.run import Run
from makar.train.metrics import read_metrics

INK, PALE, RED, BLUE = "#1b1f24", "#8a929b", "#c8452f", "#2f6fb0"
WIDTH, HEIGHT, DPI = 10.0, 6.4, 160  # inches and dots: 1,600 pixels, read at 800
COLUMNS = 3


def picture(run: Run) -> Figure:
    """Draw a run.

    Args:
        run: With metrics and at least three samples.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.075, 0.43, 0.895, 0.47))
    samples = chosen(run, COLUMNS)
    curves(axes, run, samples)
    title = f"{run.folder.name}: {count(run.manifest)} learning to write verse"
    figure.text(0.075, 0.945, title, fontsize=15, color=INK, weight="bold")
    for column, (step, text) in enumerate(samples):
        left = 0.075 + 0.895 * column / COLUMNS
        figure.text(left, 0.315, f"step {step:,}", fontsize=10.5, color=RED, weight="bold")
        for row, line in enumerate(excerpt(text)):
            figure.text(left, 0.27 - 0.033 * row, line, fontsize=10.5, family="serif", color=INK)
    return figure


def curves(axes: Axes, run: Run, samples: list[tuple[int, str]]) -> None:
    """Training and validation loss over the steps, with a mark where each sample was written."""
    train = [(line["step"], line["loss"]) for line in read_metrics(run.metrics) if line.get("loss") is not None]
    steps, losses = zip(*train, strict=True)
    axes.plot(steps, losses, color=PALE, linewidth=0.6, alpha=0.55)
    axes.plot(steps, smooth(losses), color=INK, linewidth=2, label="training")
    seen = [(line["step"], line["loss"]) for line in read_metrics(run.metrics, "watch") if line.get("loss") is not None]
    if seen:
        axes.plot(
            *zip(*seen, strict=True), color=BLUE, linewidth=2, marker="o", markersize=5, label="books it never saw"
        )
    for step, _ in samples:
        axes.axvline(step, color=RED, linewidth=1, alpha=0.6)
    axes.set_xlim(0, (max(steps) + 1) * 1.01)
    bottom = min(smooth(losses)[len(losses) // 2 :])
    axes.set_ylim(bottom - 0.15 * (max(losses) - bottom), max(losses) * 1.02)
    axes.set_xlabel("optimizer step", fontsize=11, color=INK)
    axes.set_ylabel("loss, nats a token", fontsize=11, color=INK)
    axes.tick_params(colors=INK, labelsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=11, loc="upper right", labelcolor=INK)


def smooth(values: tuple[float, ...], share: float = 0.02) -> list[float]:
    """An exponential average over a share of the run, free of the pull of its start."""
    keep = 1 - 1 / max(1.0, share * len(values))
    total, weight, found = 0.0, 0.0, list[float]()
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        found.append(total / weight)
    return found


def chosen(run: Run, wanted: int) -> list[tuple[int, str]]:
    """The first sample, the last, and those between them at equal ratios of steps: a model learns on a log scale."""
    found = sorted((int("".join(filter(str.isdigit, f.stem))), f) for f in run.samples.glob("*.txt"))
    first, last = max(found[0][0], 1), found[-1][0]
    marks = [first * (last / first) ** (k / (wanted - 1)) for k in range(wanted)]
    nearest = [min(found, key=lambda pair: abs(pair[0] - mark)) for mark in marks]
    return [(step, file.read_text(encoding="utf-8").split("\n---\n")[0]) for step, file in dict.fromkeys(nearest)]


def excerpt(text: str, lines: int = 8, columns: int = 38) -> list[str]:
    """The first lines of a sample, each cut to the width of its column."""
    return [textwrap.shorten(line, columns, placeholder=" …") for line in text.strip().splitlines()[:lines]]


def count(manifest: dict[str, Any]) -> str:
    """The size of the model in words."""
    return f"{manifest['parameters'] / 1e6:.1f} M parameters"


if __name__ == "__main__":
    folder, out = sys.argv[1:]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    picture(Run(Path(folder))).savefig(out)
