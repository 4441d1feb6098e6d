"""The metrics file: append-only, one JSON object a line; all that any chart reads."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makar.core.files import mending


@dataclass(frozen=True)
class Progress:
    """How far a run is, for whoever shows it.

    Args:
        step: Completed steps.
        steps: Of the whole run.
        loss: Of the newest step that is known, of the first player.
        rate: Units a second, over the last seconds.
        units: What they are: "tokens", "images", "rows".
        seconds_left: At this rate.
        peak_share: Of the machine's measured peak FLOP/s; None where it is not known.
    """

    step: int
    steps: int
    loss: float
    rate: float
    units: str
    seconds_left: float
    peak_share: float | None


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line, whole: a kill may lose the last one, never spoil others.

    Numbers that are not finite become null, as JSON has none.
    """
    plain = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in line.items()}
    with mending(path), path.open("ab+") as file:
        if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":
            file.write(b"\n")  # a killed process left half a line
        file.write(json.dumps(plain, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def read_metrics(path: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The lines of a kind in the order of their steps; the last line for a step wins.

    Half lines are left out, and steps whose batch was skipped after a rollback.

    Args:
        path: `metrics.jsonl` of a run.
        kind: "train", one line a logged step; "watch", one line a look; "event", in words.
    """
    found: dict[Any, dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and line.get("kind") == kind:
            found[line["step"], line.get("watch")] = line
    lines = [found[key] for key in sorted(found, key=lambda k: k[0])]
    return [line for line in lines if not line.get("skipped")]


def loss_of(line: Mapping[str, Any]) -> float | None:
    """The loss in a line of a training step: of the first player where several take turns, as in a GAN."""
    return next((value for name, value in line.items() if name.split("/")[-1] == "loss"), None)
