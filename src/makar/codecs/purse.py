"""The purse of a rendering: all that a template does is paid for, so none runs long or grows large.

The syntax tree is rewritten: what loops, concatenates, compares, slices or writes out goes through functions that pay
first. Nothing is computed while a template is compiled.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import thread_time
from typing import Any, cast

from jinja2 import TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

WORK, OUTPUT, SECONDS = 120_000, 1 << 24, 0.8
"""Steps of one rendering (256 characters moved are one more), characters of a text, seconds of the processor."""

CHARACTERS, EACH, DIGITS = 256, 1000, 1024
"""Characters moved for one step; steps between looks at the clock; bits of a whole number."""

VIEWS = tuple(type(view) for view in ({}.keys(), {}.values(), {}.items()))


@dataclass
class Purse:
    """What one rendering may still spend; the clock is read now and then, since reading it is not free."""

    left: int
    until: float
    look: int = 0

    def pay(self, steps: int) -> None:
        """Spend, or stop."""
        self.left -= steps
        if self.left < 0:
            raise SecurityError(f"it does more than {WORK:,} steps of work")
        if self.left <= self.look:
            self.look = self.left - EACH
            if thread_time() > self.until:
                raise SecurityError(f"it takes more than {SECONDS} s")


PURSE: ContextVar[Purse] = ContextVar("PURSE")


@contextmanager
def purse() -> Generator[None]:
    """A full purse for one rendering."""
    token = PURSE.set(Purse(WORK, thread_time() + SECONDS, WORK - EACH))
    try:
        yield
    finally:
        PURSE.reset(token)


def pay(steps: int = 1) -> None:
    """Spend from the purse of the rendering under way."""
    PURSE.get().pay(steps)


def weigh(*values: Any) -> None:
    """Pay for all that is in some values: a list that holds itself twice, forty deep, is as heavy as it looks."""
    stack: list[Any] = list(values)
    steps = 0
    while stack:
        value = stack.pop()
        steps += 1
        if isinstance(value, str):
            steps += len(value) // CHARACTERS
        elif isinstance(value, dict):
            stack += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, *VIEWS)):
            stack += value
        elif isinstance(value, range):
            steps += len(value)
        elif isinstance(value, Namespace):
            stack.append(object.__getattribute__(value, "_Namespace__attrs"))
        if steps > EACH:
            pay(steps)
            steps = 0
    pay(steps)


def bounded(value: Any) -> Any:
    """A result that is no larger than it may be, its items paid for; what comes one by one is taken at once."""
    if isinstance(value, str):
        pay(1 + len(value) // CHARACTERS)
        if len(value) > OUTPUT:
            raise SecurityError(f"it makes a text of more than {OUTPUT:,} characters")
    elif isinstance(value, Iterator):
        return list(counted(value))
    elif isinstance(value, list | tuple):
        pay(len(value))
    elif isinstance(value, int) and value.bit_length() > DIGITS:
        raise SecurityError("it makes a number that is too large")
    return value


def counted(items: Iterable[Any]) -> Any:
    """Items of a loop, each of which is paid for; a list stays a list, for `loop.length`."""
    if isinstance(items, Undefined | str | list | tuple | dict | range):
        sized: Any = items
        pay(1 + len(sized))
        return sized

    def each() -> Iterator[Any]:
        for item in items:
            pay(1)
            yield item

    return each()


def concatenated(*values: Any) -> str:
    """Values as one text."""
    weigh(*values)
    return bounded("".join(map(str, values)))


def weighed(value: Any) -> Any:
    """A value that will be compared or hashed."""
    weigh(value)
    return value


def sliced(value: Any, start: Any, stop: Any, step: Any) -> Any:
    """A part of a text or a list."""
    part = value[slice(start, stop, step)]
    pay(1 + (len(part) // CHARACTERS if isinstance(part, str) else len(part)))
    return part


@pass_context
def shown(_context: Context, value: Any) -> Any:  # with the context in it, it is never called while compiling
    """What is written out."""
    weigh(value)
    return value


INNER: Mapping[str, Callable[..., Any]] = {
    " counted": counted,
    " concatenated": concatenated,
    " weighed": weighed,
    " sliced": sliced,
}
"""Filters that only the rewritten tree can name: no name in a template begins with a space."""


# The syntax tree -------------------------------------------------------------------------------------------


def through(name: str, *values: nodes.Expr | None) -> nodes.Expr:
    """Values through one of the inner filters."""
    first, *rest = [nodes.Const(None) if value is None else value for value in values]
    return nodes.Filter(first, f" {name}", rest, [], None, None)


def output(node: nodes.Output) -> nodes.Node:
    """Literal text is shown like a value: a loop may repeat it."""
    node.nodes = [nodes.Const(n.data) if isinstance(n, nodes.TemplateData) else n for n in node.nodes]
    return node


def rounds(node: nodes.For) -> nodes.Node:
    """Each round of a loop is paid for."""
    node.iter = through("counted", cast(nodes.Expr, node.iter))
    return node


def comparison(node: nodes.Compare) -> nodes.Node:
    """All sides are weighed."""
    node.expr = through("weighed", node.expr)
    for side in node.ops:
        side.expr = through("weighed", side.expr)
    return node


def pair(node: nodes.Pair) -> nodes.Node:
    """Keys of a mapping are weighed."""
    node.key = through("weighed", node.key)
    return node


def item(node: nodes.Getitem) -> nodes.Node:
    """Jinja's slices go past the environment; these do not."""
    if isinstance(node.arg, nodes.Slice):
        return through("sliced", node.node, node.arg.start, node.arg.stop, node.arg.step)
    return node


def attribute(node: Any) -> nodes.Node:
    """No attribute with an underscore, read or set, not even where the template never comes by."""
    if node.attr.startswith("_"):
        raise TemplateSyntaxError(f"it reaches for {node.attr!r}", node.lineno)
    return node


def other(node: nodes.Node) -> nodes.Node:
    """No other template is read."""
    raise TemplateSyntaxError("it asks for another template", node.lineno)


REWRITES: Mapping[type[nodes.Node], Callable[[Any], nodes.Node]] = {
    nodes.Output: output,
    nodes.For: rounds,
    nodes.Concat: lambda node: through("concatenated", *node.nodes),
    nodes.Compare: comparison,
    nodes.Pair: pair,
    nodes.Getitem: item,
    nodes.Getattr: attribute,
    nodes.NSRef: attribute,
    **dict.fromkeys((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends), other),
}


class Paying(NodeTransformer):
    """Rewrites a template so that all it does is paid for: its leaves first."""

    def visit(self, node: nodes.Node, *args: Any, **named: Any) -> Any:
        """A node as it will be."""
        self.generic_visit(node, *args, **named)
        rewrite = REWRITES.get(type(node))
        return rewrite(node) if rewrite else node
