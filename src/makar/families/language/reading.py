"""How a net reads one token a row: the seam behind which faster ways stand, each tested against the plain one.

A net is laid out as a `Reader` when it first generates, and the layout is kept while the net and its weights are the
same. Where the weights are bfloat16 and on a CPU, the reader is compiled as soon as that pays: when what this process
has spent on reading with it, and is about to, is more than compiling costs. For float32 compiling gains nothing, so
there an answer never depends on how long the process has been running.
"""

import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from makar.core.device import memory_available
from makar.nets.cache import Cache
from makar.nets.decoder import Decoder
from makar.nets.lora import active, differing
from makar.nets.reader import Reader

COMPILE_SECONDS = 60.0
"""About what compiling costs on two cores."""

Logits = Float[Tensor, "rows vocab"]


def room_for(longest: int) -> int:
    """The room to give a cache that must hold so many tokens, of which there are at least two.

    One more, so that a step never looks at all of it: the compiler makes a case of its own of that, and of one token.
    """
    return longest + 1


def plain(net: Decoder, tokens: Int[Tensor, " rows"], cache: Cache) -> Logits:
    """Logits after one more token of each row, by the net itself."""
    return F.linear(net.model(tokens[:, None], cache=cache)[:, 0], net.output_weight)


def read(net: Decoder, tokens: Int[Tensor, " rows"], cache: Cache, most: int) -> Logits:
    """Logits after one more token of each row, the fastest way there is; the cache takes the token in.

    Args:
        net: The decoder.
        tokens: The last of each row.
        cache: What the rows held before; its caller moves `lengths`.
        most: How many more steps there will be at most, this one included.
    """
    cache = cache.upto(max(2, int(cache.lengths.max()) + 1))
    if differing(net):  # rows with adapters of their own: no one layout holds them all
        return plain(net, tokens, cache)
    if net not in READINGS or READINGS[net].adapter != active(net):
        renew(net)
    reading = READINGS[net]
    return plain(net, tokens, cache) if reading.reader is None else reading(tokens, cache, most)


class Reading:
    """A net's reader, compiled or not, and the time spent on it."""

    def __init__(self, net: Decoder) -> None:
        self.weights, self.adapter = fingerprint(net), active(net)
        size = sum(weight.nbytes for weight in net.parameters())
        self.reader = Reader(net) if 2 * size < memory_available(net.output_weight.device.type) else None
        self.compilable = net.output_weight.dtype == torch.bfloat16 and net.output_weight.device.type == "cpu"
        self.compiled: dict[bool, Callable[..., Logits]] = {}
        self.seconds, self.steps = 0.0, 0

    def __call__(self, tokens: Int[Tensor, " rows"], cache: Cache, most: int) -> Logits:
        """Read a step, after compiling if it is time."""
        assert self.reader is not None
        several, start = len(tokens) > 1, time.perf_counter()
        if self.compilable and several not in self.compiled and self.pays(most):
            self.compiled[several] = compiled(self.reader, several)
            start, self.seconds, self.steps = time.perf_counter(), 0.0, 0
        logits = self.compiled.get(several, self.reader)(tokens, cache.keys, cache.values, cache.lengths)
        self.seconds += time.perf_counter() - start
        self.steps += 1
        return logits

    def pays(self, most: int) -> bool:
        """Whether what was spent and is foreseen is more than compiling costs."""
        return self.seconds + most * self.seconds / max(1, self.steps) > COMPILE_SECONDS


def compiled(reader: Reader, several: bool) -> Callable[..., Logits]:  # noqa: FBT001
    """Compile a reader for one row or for any number above, and for any room.

    The weights become constants of the code, laid out for its matrix products, which are chosen by trying.
    """
    from torch._inductor import config
    from torch.fx.experimental import _config as shapes

    example = Cache.empty(reader.config, 1 + 2 * several, room_for(9), reader.head.weight.dtype).upto(9)
    tokens = torch.zeros(len(example.lengths), dtype=torch.int64)
    options: dict[str, Any] = {
        "freezing": True,
        "max_autotune": True,
        "autotune_num_choices_displayed": 0,
        "max_autotune_report_choices_stats": False,
    }
    step = torch.compile(reader, dynamic=True, fullgraph=True)
    # Sizes that happen to be equal in the example may differ later.
    apart = shapes.patch(use_duck_shape=False)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
    with config.patch(options), apart, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        step(tokens, example.keys, example.values, example.lengths)
    return step


def renew(net: Decoder) -> Reading:
    """The net's reading; a new one where its weights have changed. For the start of an answer, not for every token."""
    if not current(net):
        READINGS.pop(net, None)  # the old layout's memory is free before the new one takes its own
        READINGS[net] = Reading(net)
    return READINGS[net]


def current(net: Decoder) -> bool:
    """Whether the net's reading is that of its weights and of the adapter that answers."""
    reading = READINGS.get(net)
    return reading is not None and reading.adapter == active(net) and reading.weights == fingerprint(net)


def fingerprint(net: Decoder) -> tuple[Any, ...]:
    """Changes whenever a weight is replaced or written to (but one made in inference mode keeps no count)."""
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in net.parameters())


READINGS: weakref.WeakKeyDictionary[Decoder, Reading] = weakref.WeakKeyDictionary()
