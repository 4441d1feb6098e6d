"""How a function that takes time says what it is doing: a line at a time, to whoever called it."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Takes a line for a person: for the terminal, a log, or nobody."""


def silent(line: str) -> None:  # noqa: ARG001
    """Nobody listens."""
