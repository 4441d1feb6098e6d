"""One optimizer step: each player in turn, its gradient added up over micro-batches and processes."""

# torch's _foreach functions have no public names.
# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from makar.core.device import Precision
from makar.core.nouns import Batch, Model, Objective
from makar.core.random import Rng, key_of
from makar.train.config import TrainConfig
from makar.train.distributed import World
from makar.train.optim import Player
from makar.train.precision import autocast
from makar.train.schedule import rate


@dataclass(frozen=True)
class Setting:
    """What is the same for every step.

    Args:
        model: What is trained.
        objective: Its loss.
        players: Who takes turns.
        config: How.
        seed: The run's.
        world: The processes that share the rows.
        precision: Of forward and backward.
    """

    model: Model[Any]
    objective: Objective[Any]
    players: Sequence[Player]
    config: TrainConfig
    seed: int
    world: World
    precision: Precision


@dataclass(frozen=True)
class Record:
    """The numbers of a step, still on their way from the device: reading them at once would make it wait.

    Args:
        step: From 0.
        names: What the numbers are, of each player in turn: its sum, count, norm and logs.
        vector: The numbers; the wishes of the processes come first.
        seconds: That the step took.
        ready: On CUDA, when the vector has arrived.
    """

    step: int
    names: Sequence[Sequence[str]]
    vector: Tensor
    seconds: float
    ready: torch.cuda.Event | None = None

    def read(self) -> tuple[list[float], list[dict[str, float]]]:
        """The wishes, and the numbers of each player; logs are already divided by the count."""
        if self.ready is not None:
            self.ready.synchronize()
        values = self.vector.tolist()
        wishes, values = values[: -sum(map(len, self.names))], values[-sum(map(len, self.names)) :]
        players: list[dict[str, float]] = []
        for names in self.names:
            numbers, values = dict(zip(names, values, strict=False)), values[len(names) :]
            count = numbers["count"] or 1.0
            players.append({k: v if k in ("count", "norm") else v / count for k, v in numbers.items()})
        return wishes, players


def on_its_way(vector: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Start to copy a vector to the CPU behind the work queued so far, and do not wait."""
    if vector.device.type != "cuda":
        return vector, None
    ready = torch.cuda.Event()
    host = torch.empty_like(vector, device="cpu", pin_memory=True).copy_(vector, non_blocking=True)
    ready.record()
    return host, ready


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Start to copy a tensor to the device, and do not wait: only pinned memory is read while the CPU goes on."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def train_step(setting: Setting, batch: Batch, step: int, wishes: Sequence[float]) -> tuple[list[list[str]], Tensor]:
    """Update every player once; where its count is 0, nothing was to be learned and nothing changes.

    Args:
        setting: Who and how.
        batch: All rows of the step, on the CPU.
        step: From 0.
        wishes: What this process would like the others to know, added up over all.

    Returns:
        The names and the vector of a `Record`.
    """
    device = setting.model.device
    batch = {name: sent(tensor, device) for name, tensor in batch.items()}
    count = len(next(iter(batch.values())))
    rows = torch.arange(count, device=device) + step * setting.config.batch_size
    seed_torch(device, key_of(setting.seed, step, "prepare"))
    with torch.no_grad(), autocast(device, setting.precision):
        batch = setting.objective.prepare(setting.model, batch, Rng(setting.seed, step, rows))
    wished = sent(torch.tensor(wishes, dtype=torch.float32), device)
    names: list[list[str]] = []
    vectors = [wished]
    for player in setting.players:
        share = setting.world.share(count)
        labels, totals = accumulate(setting, player, batch, rows, share=share, step=step)
        norm = finish(setting, player, [totals] if names else [wished, totals], totals)
        scale = rate(setting.config.schedule, step, setting.config.steps)
        for optimizer in player.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = setting.config.optimizer.learning_rate * scale
            # As a gradient scaler would say that a step must not happen: decided on the device, which need not be read.
            optimizer.found_inf = (totals[1] == 0).float()  # pyright: ignore[reportAttributeAccessIssue]: torch's own
            optimizer.step()
            optimizer.zero_grad()
        # The fused optimizer writes to weights without a count; whoever keeps a copy of them must hear of it.
        increment_version(list(player.parameters.values()))
        names.append(["loss", "count", "norm", *labels])
        vectors += [totals[:2], norm[None], totals[2:]]
    return names, torch.cat(vectors)


def accumulate(
    setting: Setting, player: Player, batch: Batch, rows: Tensor, *, share: range, step: int
) -> tuple[list[str], Tensor]:
    """Add up the player's gradient over this process's micro-batches.

    Returns:
        The names of the logs, and the sums of loss, count and logs.
    """
    parameters = list(player.parameters.values())
    names: list[str] = []
    totals: Tensor | None = None
    size = setting.config.micro_batch_size or max(1, len(share))
    for start in range(share.start, share.stop, size):
        cut = slice(start, min(start + size, share.stop))
        first = step * setting.config.batch_size + start
        seed_torch(rows.device, key_of(setting.seed, step, first, player.path))
        micro = {name: tensor[cut] for name, tensor in batch.items()}
        rng = Rng(setting.seed, step, rows[cut], player.path)
        with autocast(rows.device, setting.precision):
            loss = setting.objective(setting.model, micro, player.path, rng)
        loss.sum.backward(inputs=parameters)
        names = sorted(loss.logs)
        numbers = [loss.sum, loss.count, *(loss.logs[name] for name in names)]
        sums = torch.stack([number.detach().to(rows.device, torch.float32) for number in numbers])
        totals = sums if totals is None else totals + sums
    assert totals is not None, "every process has rows"
    return names, totals


def seed_torch(device: torch.device, seed: int) -> None:
    """Seed torch's own generators, for dropout and other people's code.

    `torch.manual_seed` would format a traceback for each accelerator that is not there, half a millisecond a call.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def finish(setting: Setting, player: Player, small: list[Tensor], totals: Tensor) -> Tensor:
    """Add gradients and counts up over processes, divide by the true count, clip.

    Args:
        setting: Who and how.
        player: Whose gradient.
        small: Tensors to add up along the way.
        totals: Among them: loss, count and logs.

    Returns:
        The norm before clipping.
    """
    for parameter in player.parameters.values():
        if parameter.grad is None:  # unused by these rows, perhaps used by another process's
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in player.parameters.values() if p.grad is not None]
    setting.world.sum([*small, *gradients])
    count = totals[1] + (totals[1] == 0)  # nothing to learn from: 0, not 0 divided by 0
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))) / count
    factor = (setting.config.clip_norm / (norm + 1e-6)).clamp(max=1) / count
    torch._foreach_mul_(gradients, factor)
    return norm
