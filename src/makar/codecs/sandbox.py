"""A Jinja environment for chat templates of strangers: what they may reach, how much they may do, and nothing else.

A template is a program that came with somebody's weights. It sees plain data only, and of that only what a table below
names: no attribute with an underscore, no method, filter or function that chat templates have no need of. `purse` sees
to it that none runs long or grows large.
"""

import json
import operator
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any

from jinja2 import Template, TemplateError, Undefined, filters, nodes, tests
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from makar.codecs.purse import CHARACTERS, DIGITS, INNER, Paying, bounded, counted, pay, shown, weigh

FILTERS: Mapping[str, Callable[..., Any]] = filters.FILTERS
TESTS: Mapping[str, Callable[..., Any]] = tests.TESTS

CALL, INDENT, DATE, PLACES = 8, 16, 64, 32
"""What a call costs, in steps; spaces of an indentation; characters of the form of a date; places that are rounded."""

STRING = frozenset((
    "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "partition", "rpartition", "startswith", "endswith",
    "removeprefix", "removesuffix", "replace", "join", "lower", "upper", "title", "capitalize", "find", "rfind",
    "index", "count", "isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower",
))  # fmt: skip
ATTRIBUTES: tuple[tuple[type, frozenset[str]], ...] = (
    (str, STRING),
    (dict, frozenset(("get", "items", "keys", "values"))),
    (list, frozenset(("index", "count"))),
    (tuple, frozenset(("index", "count"))),
    (
        LoopContext,
        frozenset((
            "index", "index0", "first", "last", "length", "previtem", "nextitem", "revindex", "revindex0", "depth",
            "depth0", "cycle", "changed",
        )),
    ),
)  # fmt: skip
"""What a template may reach of each kind of value; of a namespace it may reach all that it put there itself."""

PLAIN = ("length", "count", "first", "last", "default", "d")
"""Filters that look at the outside of a value only; all others pay for all that is in it."""

USED = (
    *PLAIN, "lower", "upper", "capitalize", "title", "string", "safe", "int", "float", "abs", "list", "map", "select",
    "reject", "selectattr", "rejectattr", "reverse", "items", "dictsort", "sort", "unique", "min", "max",
)  # fmt: skip
"""Jinja's own filters that chat templates use; others are bounded ones below."""

ITEMS = ("list", "map", "select", "reject", "selectattr", "rejectattr", "sort", "unique", "min", "max")
"""Those that go through a text character by character."""


def tojson(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """JSON without HTML's escapes, as transformers has it."""
    if isinstance(indent, int | str) and (indent if isinstance(indent, int) else len(indent)) > INDENT:
        raise SecurityError("it indents too far")
    if separators is not None and any(len(part) > INDENT for part in separators):
        raise SecurityError("its separators are too long")
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    # What lies deep stands far in, so that is bounded piece by piece.
    text = encoder.encode(value) if indent is None else "".join(map(bounded, encoder.iterencode(value)))
    guard = MARKS.get()[2]
    return text.replace(json.dumps(guard)[1:-1], guard) if guard and ensure_ascii else text


def join(value: Any, separator: str = "", attribute: Any = None) -> str:
    """Items as one text."""
    items = [*counted(value)]
    if attribute is not None:
        items = [item[attribute] for item in items]
    weigh(items)
    pay(len(str(separator)) * len(items) // CHARACTERS)
    return str(separator).join(map(str, items))


def replace(value: Any, old: str, new: str, count: int = -1) -> str:
    """A text with a part replaced wherever it stands."""
    text = str(value)
    pay(len(str(new)) * (text.count(old) + 1) // CHARACTERS)
    return text.replace(old, new, count)


def indent(value: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:  # noqa: FBT001, FBT002
    """A text whose lines stand further in."""
    if (width if isinstance(width, int) else len(width)) > INDENT:
        raise SecurityError("it indents too far")
    pay(str(value).count("\n"))
    return FILTERS["indent"](str(value), width, first, blank)


def trim(value: Any, chars: Any = None) -> str:
    """A text without what stands at its ends."""
    text = str(value)
    pay_trim(text, chars)
    return text.strip(chars)


def pay_trim(text: str, chars: str | None) -> None:
    """Each character of a text may be held against each of those that are taken away."""
    pay(len(text) * len(chars or "") // CHARACTERS)


def rounded(value: Any, precision: Any = 0, method: Any = "common") -> float:
    """A number rounded; ten to the power of the places is worked out for it."""
    if abs(precision) > PLACES:
        raise SecurityError("it rounds to too many places")
    return FILTERS["round"](value, precision, method)


def total(value: Any, attribute: Any = None, start: Any = 0) -> float:
    """The sum of numbers; lists would be copied again for each."""
    items = [*counted(value)]
    if attribute is not None:
        items = [item[attribute] for item in items]
    if not all(isinstance(item, int | float) for item in (start, *items)):
        raise SecurityError("it sums up what are no numbers")
    return sum(items, start)


def raise_exception(message: str) -> None:
    """How a template refuses a conversation."""
    raise TemplateError(str(message)[:400])


def strftime_now(form: str) -> str:
    """The time of day, as some templates tell the model."""
    if len(form) > DATE:
        raise SecurityError("its form of a date is too long")
    return datetime.now().strftime(form)


def make_dict(*args: Any, **named: Any) -> dict[Any, Any]:
    """A mapping."""
    return dict(*args, **named)


def namespace(*args: Any, **named: Any) -> Namespace:
    """A mapping whose entries can be set inside loops."""
    values = make_dict(*args, **named)
    if any(not isinstance(name, str) or name.startswith("_") for name in values):
        raise SecurityError("it reaches for an attribute with an underscore")
    return Namespace(values)


def paid(function: Callable[..., Any], *, plain: bool = False, items: bool = False) -> Callable[..., Any]:
    """A filter or test that pays for what it takes and what it gives."""
    skip = hasattr(function, "jinja_pass_arg")  # then the environment or the context comes first

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        if plain:
            pay(1)
        else:
            weigh(*args[skip:], *named.values())
        if items and isinstance(args[skip], str):
            pay(len(args[skip]))
        return bounded(function(*args, **named))

    return call


def of_numbers(sign: str, left: Any, right: Any) -> bool:
    """Whether an operator stands between two numbers that it cannot make large."""
    if not all(isinstance(side, int | float) for side in (left, right)):
        return False
    bits = [side.bit_length() if isinstance(side, int) else 64 for side in (left, right)]
    room = bits[0] * abs(right) if sign == "**" else sum(bits)
    return room <= DIGITS


class Environment(ImmutableSandboxedEnvironment):
    """Jinja with the tables above."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        extensions = (Generation, loopcontrols)
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, optimized=False, finalize=shown)
        own = {
            "tojson": tojson, "join": join, "replace": replace, "indent": indent, "trim": trim, "round": rounded,
            "sum": total,
        }  # fmt: skip
        self.filters = {name: paid(FILTERS[name], plain=name in PLAIN, items=name in ITEMS) for name in USED}
        self.filters |= {name: paid(function) for name, function in own.items()} | dict(INNER)
        self.tests = {name: paid(test, plain=name not in COMPARING) for name, test in TESTS.items()}
        self.globals = {
            "range": self.globals["range"],
            "dict": make_dict,
            "namespace": namespace,
            "raise_exception": raise_exception,
            "strftime_now": strftime_now,
        }

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ARG002
        """Whether the table has it."""
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        return any(attr in names for kind, names in ATTRIBUTES if isinstance(obj, kind))

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Stop: what is not in the table is not quietly nothing."""
        raise SecurityError(f"it reaches for {attribute!r} of {type(obj).__name__!r}")

    def wrap_str_format(self, value: Any) -> None:  # noqa: ARG002
        """Nothing: a text's `format` is not in the table, so there is none to make safe."""
        return

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An entry; the key is paid for, since a tuple can take long to hash."""
        weigh(argument)
        return super().getitem(obj, argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: A002, ARG002
        """Arithmetic; texts and lists can be added, and nothing but numbers multiplied."""
        pay(1)
        if operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            pay((len(left) + len(right)) // (CHARACTERS if isinstance(left, str) else 1))
            return bounded(left + right)  # pyright: ignore[reportOperatorIssue]: of two kinds it is Python's TypeError
        if not of_numbers(operator, left, right):
            kinds = f"{type(left).__name__} {operator} {type(right).__name__}"
            if isinstance(left, Undefined) or isinstance(right, Undefined) or "None" in kinds:
                return OPERATORS[operator](left, right)  # raises, and says why
            raise SecurityError(f"it computes {kinds}")
        return OPERATORS[operator](left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **named: Any) -> Any:  # pyright: ignore
        """A call; a text's methods that can multiply it are the bounded filters above."""
        said = {key: value for key, value in named.items() if not key.startswith("_")}  # Jinja adds words of its own
        weigh(*args, *said.values())
        pay(CALL)
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str):
            pay(1 + len(owner) // CHARACTERS)
            if name == "join":
                return bounded(join(args[0], owner))
            if name == "replace":
                return bounded(replace(owner, *args, **said))
            if name in ("strip", "lstrip", "rstrip") and args:
                pay_trim(owner, args[0])
        if isinstance(obj, LoopContext):  # a recursive loop's new round
            args = (counted(args[0]), *args[1:])
        return bounded(super().call(context, obj, *args, **named))


OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "**": operator.pow, "%": operator.mod,
}  # fmt: skip

COMPARING = ("eq", "==", "equalto", "ne", "!=", "lt", "<", "lessthan", "le", "<=", "gt", ">", "greaterthan", "ge",
    ">=", "in", "lower", "upper")  # fmt: skip
"""Tests that look inside what they compare."""

MARKS: ContextVar[tuple[str, str, str]] = ContextVar("MARKS", default=("", "", ""))
"""What the rendering under way puts before and after what the assistant writes, and what it leaves as it is."""


@contextmanager
def marking(marks: tuple[str, str], guard: str = "") -> Generator[None]:
    """Marks and a guard for one rendering."""
    token = MARKS.set((*marks, guard))
    try:
        yield
    finally:
        MARKS.reset(token)


class Generation(Extension):
    """`{% generation %}` around what the assistant writes, as transformers has it."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """The body becomes the caller of `marked`."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("marked"), [], [], body).set_lineno(line)

    def marked(self, caller: Callable[[], str]) -> str:
        """The body's text between the marks."""
        before, after, _ = MARKS.get()
        return before + caller() + after


@lru_cache(maxsize=64)
def compiled(source: str) -> Template:
    """A template, ready to render with a purse.

    Raises:
        TemplateError: It is not a template, or it asks for what none may have.
    """
    tree = ENVIRONMENT.parse(source)
    tree = Paying().visit(tree)
    tree.set_environment(ENVIRONMENT)
    tree.set_lineno(1)
    return Template.from_code(ENVIRONMENT, ENVIRONMENT.compile(tree), ENVIRONMENT.globals)


ENVIRONMENT = Environment()
