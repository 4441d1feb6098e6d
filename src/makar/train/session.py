"""A run in progress: where it is, what it remembers, how it is written down and brought back."""

import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import Tensor, nn

from makar.core.device import Machine
from makar.core.errors import Diverged, ResourceError
from makar.core.files import mending
from makar.core.nouns import Batch, Cost, Source, StatefulSource, TracedSource, Verdict, Watch
from makar.core.say import Say
from makar.core.tensors import check_shapes
from makar.train import checkpoint as checkpoints
from makar.train.blocks import eager, explained
from makar.train.checkpoint import Checkpoint
from makar.train.compiling import Compiling
from makar.train.ema import Average, averaged, keep_snapshot, update_averages
from makar.train.history import NEAR, History
from makar.train.metrics import Progress, append
from makar.train.optim import load_optimizer_state, optimizer_state
from makar.train.schedule import rate
from makar.train.step import Record, Setting, on_its_way, train_step


@dataclass(frozen=True)
class Periodic:
    """A watch and how often it looks.

    Args:
        name: For the metrics file.
        watch: Looks at the model, with its averaged weights where there is an average.
        every: Completed steps between looks; it also looks after the last one.
        guards: Whether it may send the run back: each look that finds the run well is then saved, to go back to, for
            what was saved since may have gone wrong before it showed.
    """

    name: str
    watch: Watch
    every: int
    guards: bool = False


@dataclass
class Session:
    """Everything about a run that changes while it trains.

    Args:
        setting: What does not change: model, objective, players, config, seed, processes, precision.
        compiling: Whether the net's blocks are compiled.
        source: Rows.
        folder: The run's.
        watches: Who looks at the model, and how often.
        identity: Whose checkpoints are ours.
        averages: Averaged weights, by the names that they have in checkpoints.
        stop: Set by a signal.
        cost: For the rates.
        machine: For the share of its peak.
        say: Takes a line for the reader.
        progress: Takes the state of things after each step.
    """

    setting: Setting
    compiling: Compiling
    source: Source
    folder: Path
    watches: Sequence[Periodic]
    identity: Mapping[str, Any]
    averages: Mapping[str, Average]
    stop: Event
    cost: Cost | None
    machine: Machine | None
    say: Say
    progress: Callable[[Progress], None] | None
    step: int = 0
    history: History = field(default_factory=History)
    pending: deque[Record] = field(default_factory=deque[Record])
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    since: float = 0.0  # seconds of steps since the last line of the metrics
    loss: float | None = None
    interrupted: bool = False
    peak: float = 0.0
    wanted: bool = False
    saved: int = -1
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.folder / "checkpoints"

    @property
    def guarded(self) -> bool:
        """Whether a watch may send the run back to where it was well."""
        return any(periodic.guards for periodic in self.watches)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.step >= self.setting.config.steps or self.history.ended is not None or self.interrupted

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.setting.world.rank == 0

    def advance(self) -> None:
        """Take one step, unless its batch is to be skipped."""
        if self.compiling.turn(self.step, self.seconds):
            self.seconds.clear()
        if self.step in self.history.skipped:
            self.log({"kind": "train", "step": self.step, "skipped": True})
        else:
            start = time.perf_counter()
            batch: Batch = self.source.batch(self.step, self.setting.config.batch_size)
            try:
                with explained():
                    names, vector = train_step(self.setting, batch, self.step, self.wishes())
            except ResourceError as fault:
                if self.setting.config.compile == "on":
                    raise
                self.give_up_compiling(fault)
                self.advance()
                return
            self.compiling.count()
            update_averages(self.averages, self.setting.model.net, self.setting.config, self.step)
            self.seconds.append(time.perf_counter() - start)
            vector, ready = on_its_way(vector)
            self.pending.append(Record(self.step, names, vector, self.seconds[-1], ready))
        self.step += 1

    def wishes(self) -> tuple[float, float]:
        """Whether this process was told to stop, and whether it is time to save."""
        late = time.monotonic() - self.saved_at > self.setting.config.checkpoint_seconds
        return float(self.stop.is_set()), float(late and self.writes)

    def hear(self, wishes: Sequence[float]) -> None:
        """Take in what any process wished for. All hear the same at the same step, so all act alike."""
        self.interrupted = self.interrupted or wishes[0] > 0
        self.wanted = self.wanted or wishes[1] > 0

    def settle(self) -> bool:
        """Read the numbers of past steps: judge them, log them.

        The newest are left for the next time, when the device will have them ready, except before a look or a save.

        Returns:
            False after a fault: the run is back at its last good checkpoint.
        """
        if self.setting.world.size == 1:
            self.hear(self.wishes())
        while len(self.pending) > (0 if self.looks() or self.must_save() else 1):
            record = self.pending.popleft()
            wishes, players = record.read()
            self.hear(wishes)
            pairs = zip(self.setting.players, players, strict=True)
            numbers = {p.path: (n["loss"], n["norm"]) for p, n in pairs if n["count"]}
            if len(numbers) < len(players):
                self.say(f"step {record.step}: its rows hold nothing to learn from, and it changed nothing")
            if fault := self.history.judge(numbers):
                self.go_back(fault, [record.step])
                return False
            self.report(record, players)
        return True

    def looks(self) -> list[Periodic]:
        """The watches that are to look now."""
        last = self.step == self.setting.config.steps
        return [periodic for periodic in self.watches if last or self.step % periodic.every == 0]

    def look(self) -> bool:
        """Let the watches look; rank 0 does, the others wait for what was said.

        Returns:
            False if one sent the run back.
        """
        for periodic in self.looks():
            verdict = self.setting.world.agree(self.ask(periodic.watch) if self.writes else None)
            if verdict.note:
                self.say(f"step {self.step}: {verdict.note}")
            line = {"kind": "watch", "watch": periodic.name, "step": self.step, **verdict.logs}
            self.log(line | ({} if verdict.score is None else {"score": verdict.score}))
            if verdict.action == "back":
                reason = verdict.note or f"the watch {periodic.name!r} said back"
                self.go_back(reason, list(range(self.history.good if periodic.guards else self.saved, self.step)))
                return False
            if periodic.guards:
                self.wanted, self.history.good = True, self.step
            self.wanted |= self.history.take(self.step, verdict, self.setting.config.patience)
        return True

    def ask(self, watch: Watch) -> Verdict:
        """Show the model to a watch as it would be saved: averaged, in evaluation mode, eager."""
        net = self.setting.model.net
        net.eval()
        with averaged(net, self.averages.get("average")), torch.no_grad(), eager():
            verdict = watch(self.step, self.setting.model)
        net.train()
        return verdict

    def must_save(self) -> bool:
        """Whether a checkpoint is due: by count, by clock, at an end, or once a skipped batch is well behind."""
        config = self.setting.config
        survived = bool(self.history.skipped) and self.step == self.history.skipped[-1] + NEAR + 1
        return self.step % config.checkpoint_steps == 0 or self.over or self.wanted or survived

    def save(self) -> None:
        """Write averages of several lengths, and a checkpoint, if they are due."""
        if self.writes:
            keep_snapshot(self.folder, self.averages, self.setting.config, self.step)
        if not self.must_save() or self.saved == self.step:
            return
        if self.writes:
            known = {
                "identity": dict(self.identity),
                "decisions": self.compiling.decisions.known,
                "history": self.history.to_json(),
            }
            kept = {self.history.best_step, self.history.good if self.guarded else None}
            checkpoints.save(self.checkpoints, Checkpoint(self.step, self.tensors(), known), kept)
        self.saved, self.saved_at, self.wanted = self.step, time.monotonic(), False

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of a checkpoint, by name."""
        found = {f"net/{name}": t for name, t in net_tensors(self.setting.model.net).items()}
        for prefix, average in self.averages.items():
            found |= {f"{prefix}/{name}": t for name, t in average.items()}
        for player in self.setting.players:
            found |= {f"optimizer/{player.path}/{name}": t for name, t in optimizer_state(player).items()}
        if isinstance(self.source, StatefulSource):
            found |= {f"source/{name}": t for name, t in self.source.state().items()}
        return found

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Put the run where the checkpoint was.

        Raises:
            RunError: The checkpoint is another run's.
        """
        checkpoints.check_identity(self.checkpoints, checkpoint.state["identity"], self.identity)
        put_back(self.checkpoints, net_tensors(self.setting.model.net), under("net/", checkpoint.tensors))
        for prefix, average in self.averages.items():
            put_back(self.checkpoints, average, under(f"{prefix}/", checkpoint.tensors))
        for player in self.setting.players:
            load_optimizer_state(player, under(f"optimizer/{player.path}/", checkpoint.tensors))
        if isinstance(self.source, StatefulSource):
            self.source.load_state(under("source/", checkpoint.tensors))
        self.history = History.from_json(checkpoint.state["history"])
        self.step = self.saved = checkpoint.step
        self.pending.clear()

    def resume(self) -> None:
        """Go on from the newest good checkpoint; the first start writes one, to have something to go back to."""
        if self.writes:
            with mending(self.checkpoints):
                self.checkpoints.mkdir(parents=True, exist_ok=True)
            checkpoints.tidy(self.checkpoints)
        newest = self.newest()
        if newest is None:
            self.setting.world.equalize(list(net_tensors(self.setting.model.net).values()))
            self.wanted = True
            self.save()
        else:
            self.restore(newest)
            if self.step and not self.over:
                self.say(f"resuming at step {self.step} of {self.setting.config.steps}")

    def newest(self, upto: int | None = None) -> Checkpoint | None:
        """The newest good checkpoint, of so many steps at most; rank 0 chooses."""
        world = self.setting.world
        found = checkpoints.newest(self.checkpoints, self.say, upto) if self.writes else None
        step = world.agree(found.step if found else None)
        return checkpoints.load(self.checkpoints, step) if found is None and step is not None else found

    def go_back(self, reason: str, faulty: list[int]) -> None:
        """Return to the last good checkpoint before the faulty steps and leave their batches out.

        Raises:
            Diverged: The run was sent back from here before.
        """
        at, size, before = faulty[-1], self.setting.config.batch_size, self.history.skipped
        if self.history.hopeless(at):
            rows = f"rows {faulty[0] * size} to {(at + 1) * size - 1}"
            if isinstance(self.source, TracedSource):
                held = sorted({place for step in faulty for place in self.source.origins(step, size)})
                rows += f" of the stream, made of numbers {listed(held)} of what was encoded, from 0"
                self.log({"kind": "event", "step": at, "event": "given up", "documents": held})
            raise Diverged(f"step {at}: {reason}, again after going back and skipping step {before[-1]}; {rows}")
        newest, best = self.newest(faulty[0]), self.history.best_step
        assert newest is not None, "the first start wrote one"
        self.restore(newest)
        if self.writes:
            checkpoints.forget(self.checkpoints, newest.step)
        if self.history.best_step not in (best, newest.step):  # the best so far then, which a later one put away
            self.history.best, self.history.best_step, self.history.stale = None, None, 0
        self.history.skipped = sorted({*before, *faulty})
        line = f"{reason}; back to step {self.step}, skipping {span(faulty)}"
        self.say(f"step {at}: {line}")
        self.log({"kind": "event", "step": at, "event": "back", "note": line, "left_out": faulty})

    def give_up_compiling(self, fault: ResourceError) -> None:
        """Return to the last good checkpoint, for half a step may be done, and go on from there in eager mode."""
        newest = self.newest()
        assert newest is not None, "the first start wrote one"
        self.compiling.end(newest.step, fault)
        for player in self.setting.players:
            for optimizer in player.optimizers:
                optimizer.zero_grad()
        self.restore(newest)

    def report(self, record: Record, players: Sequence[Mapping[str, float]]) -> None:
        """Log a step that went well, and show how far the run is."""
        config = self.setting.config
        self.loss = players[0]["loss"]
        step_seconds = statistics.median(self.seconds or (record.seconds,))  # one that compiles says nothing of others
        rows = config.batch_size / step_seconds
        name, each = self.cost.units if self.cost else ("rows", 1)
        share = None
        if self.cost and self.machine:
            peak = self.machine.peak(self.setting.precision) * self.setting.world.size
            self.peak = max(self.peak, peak, rows * self.cost.flops)  # a probe on a busy machine finds too little
            share = rows * self.cost.flops / self.peak
        if self.progress:
            left = (config.steps - record.step - 1) * step_seconds
            self.progress(Progress(record.step + 1, config.steps, self.loss, rows * each, name, left, share))
        self.since += record.seconds
        if record.step % config.log_every == 0:
            line: dict[str, Any] = {"kind": "train", "step": record.step}
            for player, numbers in zip(self.setting.players, players, strict=True):
                line |= {player.label(key): value for key, value in numbers.items()}
                line[player.label("loss_hex")] = numbers["loss"].hex()
            line["learning_rate"] = config.optimizer.learning_rate * rate(config.schedule, record.step, config.steps)
            line |= {"seconds": record.seconds, f"{name}_per_second": rows * each, "peak_share": share}
            self.log(line if config.log_every == 1 else line | {"seconds_since": self.since})
            self.since = 0.0

    def log(self, line: Mapping[str, Any]) -> None:
        """Add a line to the metrics file."""
        if self.writes:
            append(self.folder / "metrics.jsonl", line)


def net_tensors(net: nn.Module) -> dict[str, Tensor]:
    """Trained parameters and lasting buffers by name, tied ones once; frozen ones are where the run began."""
    unique: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in net.state_dict(keep_vars=True).items():
        if tensor.requires_grad or not isinstance(tensor, nn.Parameter):
            unique.setdefault(id(tensor), (name, tensor))
    return dict(unique.values())


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@torch.no_grad()
def put_back(where: Path, into: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors from a checkpoint over those of the same names.

    Raises:
        ModelError: Names or shapes differ.
    """
    check_shapes(where, tensors, {name: tensor.shape for name, tensor in into.items()})
    for name, tensor in into.items():
        tensor.copy_(tensors[name])


def listed(places: Sequence[int], most: int = 12) -> str:
    """Places in words; of many the first."""
    more = f" and {len(places) - most} more, all in the metrics file" if len(places) > most else ""
    return ", ".join(map(str, places[:most])) + more


def span(steps: Sequence[int]) -> str:
    """Steps in words."""
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
