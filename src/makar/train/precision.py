"""bf16 computation over fp32 weights, where the machine is faster with it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from makar.core.device import Machine, Precision


def choose(wanted: Literal["auto", "fp32", "bf16"], machine: Machine | None) -> Precision:
    """The precision of a run; fp32 for a machine that nobody measured."""
    if wanted == "auto":
        return machine.precision if machine else "fp32"
    return wanted


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context of forward passes."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
