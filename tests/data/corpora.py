"""Small corpora and pickles for the tests of collection."""

import io
import pickle
import random
import types
from pathlib import Path

NOUNS = ["moon", "star", "sea", "wind", "rose", "night", "bird", "stone"]
WORDS = [f"{noun}{ending}" for noun in NOUNS for ending in ["", "s", "light", "fall", "ward"]]


def verse(seed, lines=12, words=6):
    """A text with its own words in its own order."""
    rng = random.Random(seed)
    return "\n".join(" ".join(rng.choice(WORDS) + rng.choice("aeiou") for _ in range(words)) for _ in range(lines))


def folder_of(path: Path, count=20, **options):
    """A folder of text files, one group each."""
    path.mkdir(parents=True)
    for number in range(count):
        (path / f"{number:03}.txt").write_text(verse(number, **options) + "\n")
    return path


class Said:
    """Pickles as a call of a name from another module, whether or not that module is here."""

    def __init__(self, module, name, arguments=(), state=None):
        self.call, self.arguments, self.state = named(module, name), arguments, state

    def __reduce__(self):
        return (self.call, self.arguments, self.state) if self.state is not None else (self.call, self.arguments)


def named(module, name):
    """A function that pickles under a name of our choice."""

    def call(*arguments):
        raise AssertionError("nothing that a pickle names may be called")

    call.__module__, call.__qualname__, call.__name__ = module, name, name
    return call


class Pickler(pickle._Pickler):
    """A pickler that takes a function's word for where it lives."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_name(self, function):
        self.save(function.__module__)
        self.save(function.__name__)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(function)

    dispatch[types.FunctionType] = save_name
    dispatch[types.BuiltinFunctionType] = save_name


def dumps(value):
    """Pickle a tree that may hold `Said`."""
    memory = io.BytesIO()
    Pickler(memory, 4).dump(value)
    return memory.getvalue()


def array(kind, shape, data):
    """A numpy array, as numpy before 2 pickled it."""
    dtype = Said("numpy", "dtype", (kind, 0, 1), (3, "<", None, None, None, -1, -1, 0))
    start = (named("numpy", "ndarray"), (0,), b"b")
    return Said("numpy.core.multiarray", "_reconstruct", start, (1, shape, dtype, False, data))


def index(labels):
    """A pandas index of strings."""
    kind = named("pandas.core.indexes.base", "Index")
    return Said(
        "pandas.core.indexes.base", "_new_Index", (kind, {"data": array("O8", (len(labels),), labels), "name": None})
    )


def frame(lines, syllables=None):
    """A pandas DataFrame with the columns of the Gutenberg Poetry Corpus, as pandas 1.0 pickled it."""
    count = len(lines)
    numbers = b"".join((number or 0).to_bytes(8, "little") for number in (syllables or [7] * count))
    blocks = [
        {"values": array("i8", (1, count), numbers), "mgr_locs": Said("builtins", "slice", (2, 3, 1))},
        {
            "values": array("O8", (2, count), [*lines, *["null"] * count]),
            "mgr_locs": Said("builtins", "slice", (0, 2, 1)),
        },
    ]
    rows = Said(
        "pandas.core.indexes.base", "_new_Index", (named("pandas.core.indexes.range", "RangeIndex"), {"stop": count})
    )
    axes = [index(["text", "meter", "syllables"]), rows]
    manager = Said(
        "pandas.core.internals.managers", "BlockManager", (), ([], [], [], {"0.14.1": {"axes": axes, "blocks": blocks}})
    )
    return Said("pandas.core.frame", "DataFrame", (), {"_data": manager, "_typ": "dataframe"})
