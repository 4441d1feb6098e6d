"""One tree of errors. `UserError` is what the reader can mend; anything else is a fault of makar's.

The command line prints a `UserError` as one line and exits with 2, and every other `MakarError` with 1.
"""


class MakarError(Exception):
    """The root: something makar knows how to say. Exit code 1 unless it is a `UserError`."""

    exit_code = 1


class UserError(MakarError):
    """Something the reader can mend, said in one line: what, where, the value, the fix.

    Args:
        what: The fault, lower case, no full stop: "the file is truncated".
        where: File, line, recipe path or model that it happened in.
        value: The offending value, shown with `repr`.
        fix: What to do about it, as an imperative: "download it again".
    """

    exit_code = 2

    def __init__(self, what: str, *, where: object = None, value: object = None, fix: str) -> None:
        self.what, self.where, self.value, self.fix = what, where, value, fix
        line = what if where is None else f"{where}: {what}"
        if value is not None:
            line += f" (got {shorten(value)})"
        super().__init__(" ".join(f"{line}; {fix}".split()))


class InputError(UserError):
    """Data that cannot be used: empty, broken, too small, not what its name says."""


class SourceError(UserError):
    """A source that cannot be reached, or is not what was asked for."""


class RecipeError(UserError):
    """A recipe, a setting or a command-line value that does not fit."""


class ModelError(UserError):
    """A model folder or a tensor file that is incomplete, damaged or of an unknown kind."""


class RunError(UserError):
    """A run folder that is in use, belongs to another recipe, or holds no good checkpoint."""


class ResourceError(UserError):
    """No space, no memory, no permission."""


class Refused(UserError):
    """A guard stopped the generation."""


class Diverged(MakarError):
    """Training met a loss that is not finite, or a spike, twice at the same step."""


def shorten(value: object, limit: int = 120) -> str:
    """`repr` of a value, cut in the middle so that one line stays one line."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 3 :]}"
