"""Runs any model: batches requests, steps its sampler, streams the chunks, drops the rows that are done."""

import contextlib
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from makar.core.device import memory_available
from makar.core.errors import ModelError, Refused
from makar.core.nouns import Chunk, Guard, Model, Request, Sampler, State
from makar.nets.lora import BASE, answering, check_name

SHARE = 0.25
"""How much of the free memory the states of all rows may take while others join; the rest is for a step's needs."""

TOGETHER = 8
"""Of so many running rows, one must be free before others join: joining copies the states of all."""


@dataclass(frozen=True)
class Answer:
    """All that came of one request.

    Args:
        data: The text, joined, or the last thing made.
        reason: Why it ended: "stop", "length", "refused".
        info: What the chunks said: lists are joined, of other values the last stays.
    """

    data: Any
    reason: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Engine:
    """A model at work.

    Args:
        model: Of any family that has a sampler.
        guards: See every request before the model does and every chunk before the reader does, in this order. What one
            refuses ends that answer, with the reason "refused" and its words in the chunk's info; the others go on.
    """

    model: Model[Any]
    guards: Sequence[Guard] = ()

    def stream(self, requests: Sequence[Request]) -> Iterator[Chunk]:
        """Give every answer, piece by piece and interleaved, as it is made; a chunk's `row` is its request's index.

        As many requests run together as memory holds; the others follow as rows become free. The model is in eval mode
        until the stream ends or is closed.

        Raises:
            UserError: A prompt or a setting that does not fit the model.
        """
        sampler = self.model.family.sampler
        if sampler is None:
            fix = "open a model of a family that does"
            raise ModelError("this family cannot generate", where=self.model.family.name, fix=fix)
        admitted = deque[tuple[int, Request]]()
        for row, request in enumerate(requests):
            try:
                seen = self._see(request)
            except Refused as refusal:
                yield refused(row, refusal)
                continue
            check_name(self.model.net, seen.adapter or BASE)
            admitted.append((row, seen))
        with eval_mode(self.model):
            yield from self._loop(sampler, admitted)

    def generate(self, requests: Sequence[Request]) -> list[Answer]:
        """Give every answer whole, in the order of the requests.

        Raises:
            UserError: A prompt or a setting that does not fit the model.
        """
        chunks: list[list[Chunk]] = [[] for _ in requests]
        for chunk in self.stream(requests):
            chunks[chunk.row].append(chunk)
        return [gather(answer) for answer in chunks]

    def _loop(self, sampler: Sampler[Any], waiting: deque[tuple[int, Request]]) -> Iterator[Chunk]:
        """Fill free rows, step, pass on, drop what is done, until nobody waits and no row is left."""
        running: list[tuple[int, Request]] = []
        state: State = {}
        while waiting or running:
            joining: list[tuple[int, Request]] = []
            if waiting:  # the first request starts alone: what its state weighs says how many fit
                room = rows_that_fit(state, self.model.device) - len(running) if running else 1
                if TOGETHER * room >= len(running):
                    joining = [waiting.popleft() for _ in range(min(room, len(waiting)))]
            # Inference mode never spans a yield: it belongs to the thread, and would reach into the reader's code.
            with torch.inference_mode():
                if joining:
                    with answering(self.model.net, [request.adapter for _, request in joining]):
                        fresh = sampler.start(self.model, [request for _, request in joining])
                    state = join(state, fresh) if running else fresh
                    running += joining
                    if len(running) == 1 and waiting:
                        continue
                with answering(self.model.net, [request.adapter for _, request in running]):
                    state, chunks = sampler.step(self.model, state)
            done: set[int] = set()
            for chunk in chunks:
                if chunk.row in done:
                    continue
                row, request = running[chunk.row]
                shown = self._show(row, request, chunk)
                if shown.done:
                    done.add(chunk.row)
                yield shown
            if done:
                order = closed_up(len(running), done)
                running = [running[row] for row in order]
                state = select(state, order)

    def _see(self, request: Request) -> Request:
        """The request as the guards pass it on."""
        for guard in self.guards:
            request = guard.request(request)
        return request

    def _show(self, row: int, request: Request, chunk: Chunk) -> Chunk:
        """The chunk as the guards pass it on, for the reader's row."""
        if chunk.row != row:
            chunk = Chunk(row, chunk.data, chunk.done, chunk.reason, chunk.info)
        try:
            for guard in self.guards:
                chunk = guard.chunk(request, chunk)
        except Refused as refusal:
            return refused(row, refusal)
        return chunk


def refused(row: int, refusal: Refused) -> Chunk:
    """The chunk that ends a refused answer: it carries the guard's words and nothing of the model's."""
    return Chunk(row, None, done=True, reason="refused", info={"refusal": str(refusal)})


def gather(chunks: Sequence[Chunk]) -> Answer:
    """One answer from its chunks: text is joined, of previews the last stays."""
    info: dict[str, Any] = {}
    for chunk in chunks:
        for name, value in chunk.info.items():
            info[name] = info[name] + value if isinstance(value, list) and name in info else value
    data = [chunk.data for chunk in chunks if chunk.data is not None]
    if data and all(isinstance(piece, str) for piece in data):
        return Answer("".join(data), chunks[-1].reason, info)
    return Answer(data[-1] if data else None, chunks[-1].reason, info)


def closed_up(count: int, gone: Collection[int]) -> list[int]:
    """Which row comes to stand in each place when some are gone: the last ones take the places of those."""
    left = count - len(gone)
    last = (row for row in range(left, count) if row not in gone)
    return [next(last) if place in gone else place for place in range(left)]


@torch.inference_mode()
def select(state: State, order: Sequence[int]) -> State:
    """The state with some rows in others' places, and cut behind them; only rows that move are copied, in place.

    Args:
        state: Of as many rows or more.
        order: The row to stand in each place: the one that stands there, or one that lies behind all places.
    """
    places = torch.tensor([place for place, row in enumerate(order) if row != place], dtype=torch.long)
    rows = torch.tensor([row for place, row in enumerate(order) if row != place], dtype=torch.long)
    kept: State = {}
    for name, leaf in state.items():
        whole = leaf.contiguous()  # an expanded leaf has its rows in one place
        if len(rows):
            whole[places.to(leaf.device)] = whole[rows.to(leaf.device)]
        kept[name] = whole[: len(order)]
    return kept


def join(first: State, second: State) -> State:
    """The state of the rows of both. A leaf that is longer in one of them is padded with zeros in the other."""
    joined: State = {}
    for name, leaf in first.items():
        other = second[name]
        shape = [max(sizes) for sizes in zip(leaf.shape[1:], other.shape[1:], strict=True)]
        joined[name] = torch.cat([padded(leaf, shape), padded(other, shape)])
    return joined


def padded(leaf: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A leaf with zeros at the end of each dimension behind the row."""
    missing = [(0, wanted - size) for size, wanted in zip(leaf.shape[1:], shape, strict=True)]
    return F.pad(leaf, [side for pair in reversed(missing) for side in pair]) if any(map(any, missing)) else leaf


def rows_that_fit(state: State, device: torch.device) -> int:
    """How many rows like the heaviest of these may run together; when others join, each stands in memory twice."""
    rows = len(next(iter(state.values())))
    weight = sum(leaf.nbytes for leaf in state.values()) / rows
    return max(rows, int(SHARE * memory_available(device.type) / max(1.0, 2 * weight)))


@contextlib.contextmanager
def eval_mode(model: Model[Any]) -> Generator[None]:
    """Put the net and its parts into eval mode, and back each module that was not."""
    nets = [part for part in (model.net, *model.parts.values()) if isinstance(part, nn.Module)]
    training = [module for net in nets for module in net.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
