"""makar: train, align, check, run and serve generative models of your own.

From Python, `from makar import api`: its functions are the commands. They are not names of the package itself, because
`makar.train` and `makar.evaluate` are rooms.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from makar.app import api as api

__version__ = "0.1.0"
__all__ = ["api"]


def __getattr__(name: str) -> Any:
    """Import the Python API when it is first used, so that `import makar` costs nothing."""
    if name == "api":
        from makar.app import api

        return api
    raise AttributeError(f"module 'makar' has no attribute {name!r}")
