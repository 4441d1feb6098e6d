"""Whether a run's blocks are compiled: forecast once from the time of eager steps, and taken back where it did not pay.

Each is decided once and obeyed from the same step on in every later start, for compiled code rounds otherwise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from makar.core.errors import ResourceError
from makar.core.say import Say
from makar.train.blocks import COMPILE_FIX, compile_blocks, compiler_found, frames, worth_compiling
from makar.train.config import TrainConfig
from makar.train.decisions import Decisions

MEASURED = 6
"""Eager steps before the forecast of what compiling would save."""


@dataclass
class Compiling:
    """The blocks of a run, compiled or not.

    Args:
        blocks: The net's repeated units.
        config: Whether it is asked for, and how many steps there are to earn it back.
        decisions: What was decided, and where it is written down.
        say: Takes a line for the reader.
        on: Whether they are compiled now.
        counted: Whether it is known how much of them was.
    """

    blocks: Sequence[nn.Module]
    config: TrainConfig
    decisions: Decisions
    say: Say
    on: bool = False
    counted: bool = True

    def turn(self, step: int, seconds: Sequence[float]) -> bool:
        """Turn it on or off where that is due.

        Args:
            step: The next.
            seconds: Of the last steps, all of them since the last turn.

        Returns:
            Whether anything changed: what steps took till now then says nothing of the next ones.
        """
        known = self.decisions.known
        if len(seconds) >= MEASURED:
            middle = sorted(seconds)[len(seconds) // 2]
            if "compile_from" not in known:
                self.forecast(step, middle)
            elif self.on and "compiled_seconds" not in known and len(seconds) >= 2 * MEASURED:
                slower = middle > known.get("eager_seconds", middle)
                self.decisions.note(compiled_seconds=middle, compile_until=step if slower else None)
                if slower:
                    self.say(f"back to eager mode: compiled, a step takes {middle:.2f} s")
        start, end = known.get("compile_from"), known.get("compile_until")
        due = start is not None and start <= step < (math.inf if end is None else end)
        if due == self.on:
            return False
        compile_blocks(self.blocks, on=due)
        self.on, self.counted = due, not due
        return True

    def forecast(self, step: int, eager_seconds: float) -> None:
        """Decide whether the rest of the run will earn the compiler's time back."""
        pays = worth_compiling(self.blocks, eager_seconds, self.config.steps - step)
        if pays and not compiler_found():
            self.say("compiling would pay, but there is no C++ compiler here")
            pays = False
        self.decisions.note(compile_from=step if pays else None, eager_seconds=eager_seconds)
        if pays:
            self.say(f"compiling the blocks from step {step}: {eager_seconds:.2f} s a step in eager mode")

    def count(self) -> None:
        """After the first compiled step, write down and say how much of the blocks is compiled.

        Raises:
            ResourceError: Nothing, where the config wants them compiled.
        """
        if self.counted:
            return
        self.counted, (shown, compiled) = True, frames()
        if "compiled_functions" not in self.decisions.known:
            self.decisions.note(compiled_functions=compiled, eager_functions=shown - compiled)
        if not compiled and self.config.compile == "on":
            raise ResourceError("the compiler passes the blocks over", value=f"{shown} functions", fix=COMPILE_FIX)
        if compiled < max(1, shown):
            self.say(f"compiled {compiled} of {shown} functions of the blocks: the others run as they are")

    def end(self, step: int, fault: ResourceError) -> None:
        """Compile no more from a step on, for a block does not compile."""
        self.decisions.note(compile_until=step)
        self.say(f"back to eager mode from step {step}: {fault.what} ({fault.value})")
