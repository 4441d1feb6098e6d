"""makar: train, align, check, run and serve generative models of your own."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from makar.app.api import collect, evaluate, generate, load, plan, stream, train

__version__ = "0.1.0"
__all__ = ["collect", "evaluate", "generate", "load", "plan", "stream", "train"]


def __getattr__(name: str) -> Any:
    """Hand out the functions of `makar.app.api` without importing torch until one is used."""
    if name in __all__:
        from makar.app import api

        return getattr(api, name)
    raise AttributeError(f"module 'makar' has no attribute {name!r}")
