"""The first SIGINT or SIGTERM asks for an orderly end, the second one kills."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def heeded() -> Generator[threading.Event]:
    """An event that the first signal sets. Outside the main thread, where signals do not arrive, it stays unset."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:  # noqa: ARG001
        asked.set()
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
