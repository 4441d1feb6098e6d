"""Learning rate as a pure function of the step."""

import math

from makar.train.config import Constant, Cosine, Wsd


def rate(schedule: Cosine | Wsd | Constant, step: int, steps: int) -> float:
    """The learning rate of a step, as a share of its peak.

    Warm-up never starts at zero: step 0 already learns a little.

    Args:
        schedule: The shape.
        step: From 0.
        steps: Of the whole run.
    """
    warmup = round(schedule.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if isinstance(schedule, Constant):
        return 1.0
    start = max(warmup, steps - round(schedule.decay * steps)) if isinstance(schedule, Wsd) else warmup
    if step < start:
        return 1.0
    progress = (step - start) / max(1, steps - start)
    left = 1 - progress if isinstance(schedule, Wsd) else (1 + math.cos(math.pi * progress)) / 2
    return schedule.floor + (1 - schedule.floor) * left
