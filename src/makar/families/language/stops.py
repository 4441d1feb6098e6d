"""Stop strings in a text that arrives in pieces."""

from collections.abc import Sequence


def release(text: str, stops: Sequence[str]) -> tuple[int, bool]:
    """How much of a text may be given out, and whether it ends there.

    The stop string that is complete first ends the text, before its first character; of two complete at once, the
    longer. Without one, an end that may yet become a stop string is held back. So the pieces in which a text arrives
    never change what is given.

    Args:
        text: What was not given out before.
        stops: None of them empty.

    Returns:
        Characters that may be given, and whether a stop string follows them.
    """
    complete = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    if complete:
        return min(complete)[1], True
    held = max((overlap(text, stop) for stop in stops), default=0)
    return len(text) - held, False


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text that is a beginning of the stop string, but not all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
