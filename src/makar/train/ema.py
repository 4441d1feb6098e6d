"""Running averages of the weights: steadier than the last ones, and what is judged and saved.

One average forgets by a half-life. Or there are several that follow a power of the step: each is as long as a share of
the run so far, and from what is kept of them on the way follows the average of any other length, once the run is over.
"""

# torch's _foreach functions have no public names.
# pyright: reportPrivateImportUsage=false

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from makar.core.errors import InputError
from makar.core.files import file_atomic
from makar.core.tensors import check_shapes, load_tensors, save_tensors
from makar.train.config import TrainConfig

RAMP = 0.05  # Karras et al. 2022, arXiv:2206.00364, appendix F.2: early on, average over the last 5% of the steps

SNAPSHOTS = 16
"""Of the averages of several lengths, in a run: any length from 0.05 to 0.1 is then within 1% of its weights."""

Average = dict[str, Tensor]
"""Averaged parameters by name."""


def averages_of(net: nn.Module, config: TrainConfig) -> dict[str, Average]:
    """Fresh averages, equal to the weights that are trained; frozen ones are their own.

    Returns:
        By the name that they have in checkpoints; "average" is the one that is judged and saved, if there is any.
    """
    names = [f"average-{length}" if place else "average" for place, length in enumerate(config.ema_lengths)]
    if config.ema_halflife and not names:
        names = ["average"]
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    return {each: {name: p.detach().clone() for name, p in trained.items()} for each in names}


@torch.no_grad()
def update_averages(averages: Mapping[str, Average], net: nn.Module, config: TrainConfig, step: int) -> None:
    """Move the averages towards the weights after a step.

    Args:
        averages: Of this config; changed in place.
        net: The weights.
        config: Of training.
        step: From 0.
    """
    weights = dict(net.named_parameters())
    for average, share in zip(averages.values(), kept(config, step), strict=True):
        torch._foreach_lerp_(list(average.values()), [weights[name].data for name in average], 1 - share)


def kept(config: TrainConfig, step: int) -> list[float]:
    """What a step leaves of each average.

    By a half-life of at most 5% of the steps so far; or by the power function of each length.
    Paper: Karras et al. 2024, arXiv:2312.02696, section 3.1.

    Args:
        config: Of training.
        step: From 0.
    """
    if config.ema_lengths:
        return [(step / (step + 1)) ** (power_of(length) + 1) for length in config.ema_lengths]
    halflife = config.ema_halflife
    return [] if halflife is None else [0.5 ** (1 / min(halflife, max(RAMP * (step + 1), 1e-8)))]


def power_of(length: float) -> float:
    """The power of the step that averages over so much of the run.

    Args:
        length: Standard deviation of the steps that are averaged, as a share of the run; from 0 to 0.28.

    Paper: Karras et al. 2024, arXiv:2312.02696, section 3.1: gamma from sigma_rel.
    """
    inverse = length**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def keep_snapshot(folder: Path, averages: Mapping[str, Average], config: TrainConfig, step: int) -> None:
    """Write down averages of several lengths, sixteen times in a run: `averages/step-00000250.safetensors`.

    Args:
        folder: The run's.
        averages: Of this config.
        config: Of training.
        step: Completed steps.
    """
    if not config.ema_lengths or step == 0 or step % max(1, config.steps // SNAPSHOTS) and step < config.steps:
        return
    place = folder / "averages" / f"step-{step:08d}.safetensors"
    named = zip(config.ema_lengths, averages.values(), strict=True)
    with file_atomic(place) as beside:
        save_tensors(beside, {f"{length}/{name}": t for length, average in named for name, t in average.items()})


@torch.no_grad()
def synthesize(folder: Path, net: nn.Module, length: float) -> None:
    """Give a net the average of another length, made of those that a run with `ema_lengths` kept on its way.

    Args:
        folder: The run's, whose `averages/` hold them.
        net: Of the run; changed in place.
        length: From 0 to 0.28, as a share of the run: as if it had been tracked from the beginning.

    Paper: Karras et al. 2024, arXiv:2312.02696, section 3.2.

    Raises:
        InputError: The run kept none, or there is no such length.
        ModelError: They are another net's, or damaged.
    """
    if not 0 < length < 0.28:
        raise InputError("no such length of an average", value=length, fix="give one from 0.01 to 0.28")
    files = sorted((folder / "averages").glob("step-*.safetensors"))
    if not files:
        raise InputError("no averages were kept", where=folder, fix="train with train.ema_lengths = [0.05, 0.1]")
    found: Average = {}
    snapshots = [(file, int(file.stem[5:])) for file in files]
    newest = load_tensors(files[-1])
    lengths = sorted({name.partition("/")[0] for name in newest})
    columns = [(float(each), step) for _, step in snapshots for each in lengths]
    shares = iter(mixture(columns, length, snapshots[-1][1]).tolist())
    trained = {name: p for name, p in net.named_parameters() if f"{lengths[0]}/{name}" in newest}  # the rest was frozen
    for file, _ in snapshots:
        tensors = load_tensors(file)
        check_shapes(file, tensors, {f"{each}/{name}": p.shape for each in lengths for name, p in trained.items()})
        for each in lengths:
            share = next(shares)
            for name in trained:
                part = share * tensors[f"{each}/{name}"].double()
                found[name] = found[name] + part if name in found else part
    for name, parameter in trained.items():
        parameter.copy_(found[name])


def mixture(columns: list[tuple[float, int]], length: float, last: int) -> Float64[np.ndarray, " columns"]:
    """How much of each kept average makes that of another length, by least squares over the steps.

    Args:
        columns: Length and completed steps of each.
        length: The wanted one.
        last: Completed steps of the wanted one.

    Paper: Karras et al. 2024, arXiv:2312.02696, section 3.2.
    """
    known = [(power_of(each), step) for each, step in columns]
    wanted = (power_of(length), last)
    products = np.array([[overlap(one, other) for other in known] for one in known])
    return np.linalg.lstsq(products, np.array([overlap(one, wanted) for one in known]), rcond=None)[0]


def overlap(one: tuple[float, int], other: tuple[float, int]) -> float:
    """The integral over the steps of the product of two averages' weights, each `(power + 1) t^power / T^(power + 1)`.

    Args:
        one: Power, and completed steps.
        other: Likewise.
    """
    (a, first), (b, second) = one, other
    log = (a + b + 1) * math.log(min(first, second)) - (a + 1) * math.log(first) - (b + 1) * math.log(second)
    return (a + 1) * (b + 1) / (a + b + 1) * math.exp(log)


@contextmanager
def averaged(net: nn.Module, average: Average | None) -> Generator[None]:
    """Show the net with its averaged weights; afterwards the trained ones are back, to the bit."""
    swap(net, average)
    try:
        yield
    finally:
        swap(net, average)


def swap(net: nn.Module, average: Average | None) -> None:
    """Exchange weights and average."""
    for name, parameter in net.named_parameters():
        if average is not None and name in average:
            parameter.data, average[name] = average[name], parameter.data
