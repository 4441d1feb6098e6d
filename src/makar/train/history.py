"""What a run must remember to go on exactly: past losses, skipped steps, the best score; and the rule for a fault."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from makar.core.nouns import Verdict

WINDOW = 64  # steps that a loss is compared with
SCALES = 16.0  # robust standard deviations above the median that make an outlier
NEAR = 20  # two faults within so many steps are the same place


@dataclass
class History:
    """The part of a run that is not a function of the step.

    Args:
        skipped: Steps whose batch is left out, after a rollback.
        window: The last losses and gradient norms of each player, oldest first.
        best: Lowest score of the judging watches.
        best_step: Completed steps at the best score.
        stale: Looks since then.
        good: Completed steps when a watch that guards the run last found it well.
        ended: Why the run ended before its last step.
    """

    skipped: list[int] = field(default_factory=list[int])
    window: dict[str, list[tuple[float, float]]] = field(default_factory=dict[str, list[tuple[float, float]]])
    best: float | None = None
    best_step: int | None = None
    stale: int = 0
    good: int = 0
    ended: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats survive JSON to the bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "History":
        """From plain data."""
        window = {player: [(loss, norm) for loss, norm in past] for player, past in data["window"].items()}
        plain = {name: value for name, value in data.items() if name != "window"}
        return cls(window=window, **plain)

    def judge(self, numbers: Mapping[str, tuple[float, float]]) -> str | None:
        """Take in a step's loss and gradient norm of each player.

        In a game a loss says how far one player is ahead, which changes at a stroke when the other finds an answer: of
        several players only what is not finite is a fault.

        Returns:
            What is wrong with them, if anything. A faulty step is not taken in.
        """
        for player, (loss, norm) in numbers.items():
            whose = f" of {player!r}" if player else ""
            if not math.isfinite(loss) or not math.isfinite(norm):
                return f"loss{whose} {loss}, gradient norm {norm}"
            past = self.window.get(player, [])
            alone = len(numbers) == 1
            if alone and outlier(loss, [p[0] for p in past]) and outlier(norm, [p[1] for p in past]):
                return f"a spike: loss{whose} {loss:.4g} and gradient norm {norm:.4g}"
        for player, pair in numbers.items():
            self.window[player] = [*self.window.get(player, []), pair][-WINDOW:]
        return None

    def hopeless(self, step: int) -> bool:
        """Whether a fault comes so soon after an earlier one that skipping more batches will not help."""
        return any(0 <= step - earlier <= NEAR for earlier in self.skipped)

    def take(self, step: int, verdict: Verdict, patience: int | None) -> bool:
        """Take in what a watch said.

        Args:
            step: Completed steps.
            verdict: Its words.
            patience: Looks without improvement before the run ends.

        Returns:
            Whether the model is the best so far.
        """
        if verdict.action == "stop":
            self.ended = verdict.note or "a watch said stop"
        if verdict.score is None:
            return False
        if math.isfinite(verdict.score) and (self.best is None or verdict.score < self.best):
            self.best, self.best_step, self.stale = verdict.score, step, 0
            return True
        self.stale += 1
        if patience is not None and self.stale >= patience and self.ended is None:
            best = "none was finite" if self.best is None else f"best {self.best:.6g} at step {self.best_step}"
            self.ended = f"no improvement in {self.stale} looks; {best}"
        return False


def outlier(value: float, past: list[float]) -> bool:
    """Whether a value is far above a window of past ones: the Hampel identifier, one-sided and very wide.

    Median and median absolute deviation are not moved by the outliers they look for. Spikes, and the cure by going
    back and skipping batches: Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, section 5.1. The identifier:
    Davies & Gather 1993, "The identification of multiple outliers".

    Args:
        value: The newest.
        past: Judged only when the window is full.
    """
    if len(past) < WINDOW:
        return False
    middle = median(past)
    deviation = 1.4826 * median(abs(x - middle) for x in past)
    scale = max(deviation, 0.01 * abs(middle))
    # Most steps exactly 0, as where rollouts have little left to teach: there is no scale to be far from.
    return scale > 0 and value > middle + SCALES * scale
