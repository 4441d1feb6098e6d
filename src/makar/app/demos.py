"""The stories that `makar demo` tells, by name."""

from collections.abc import Callable, Mapping
from functools import partial

from makar.app import demo as poems
from makar.app import demo_multimodal as multimodal
from makar.app import demo_pictures as pictures
from makar.core.config import nearest
from makar.core.errors import InputError

DEMOS: Mapping[str, Callable[..., None]] = {
    "poems": poems.demo,
    **{name: partial(pictures.demo, story) for name, story in pictures.STORIES.items()},
    "multimodal": multimodal.demo,
}


def demo(what: str, *, quiet: bool) -> None:
    """Tell one.

    Args:
        what: Its name.
        quiet: No progress on stderr.

    Raises:
        InputError: There is none of that name.
    """
    if what not in DEMOS:
        raise InputError("no such demo", where="makar demo", value=what, fix=nearest(what, list(DEMOS)))
    DEMOS[what](quiet=quiet)
