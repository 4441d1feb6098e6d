"""What is done to each of a family's repeated blocks: compile it, or compute it again for backward.

Both act in place and leave parameter names alone; both are undone when training ends.
"""

import os
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from makar.core.errors import ResourceError

COMPILE_SECONDS = 60.0  # forward and backward of one kind of block, cold; 20-70 s measured on two cores
COMPILE_GAIN = 1.25  # eager over compiled; 1.2-1.5 measured for decoders
MARGIN = 1.5  # the forecast must pay this many times, for it may be wrong
COMPILE_FIX = "set train.compile to 'off', and another folder with --run"


def kinds(blocks: Sequence[nn.Module]) -> int:
    """How many graphs the blocks compile to: those with equal shapes share one.

    The first block of a frozen net has one of its own, for no gradient flows out of it.
    """
    frozen = any(not p.requires_grad for block in blocks for p in block.parameters())
    return frozen + len({(type(b), tuple((name, p.shape) for name, p in b.named_parameters())) for b in blocks})


def worth_compiling(blocks: Sequence[nn.Module], step_seconds: float, steps_left: int) -> bool:
    """Whether the rest of the run will earn the compiler's time back.

    Args:
        blocks: The repeated units.
        step_seconds: Of an eager step, measured.
        steps_left: In the run.
    """
    saved = steps_left * step_seconds * (1 - 1 / COMPILE_GAIN)
    return bool(blocks) and saved > MARGIN * COMPILE_SECONDS * kinds(blocks)


def compile_blocks(blocks: Sequence[nn.Module], *, on: bool) -> None:
    """Compile each block when it is next called, or run it as it is."""
    for block in blocks:
        if on:
            block.compile()
        else:
            block._compiled_call_impl = None


def frames() -> tuple[int, int]:
    """How many functions this process showed to the compiler, and how many it compiled; another run uses them too."""
    from torch._dynamo.utils import counters

    return counters["frames"]["total"], counters["frames"]["ok"]


@contextmanager
def explained() -> Generator[None]:
    """Say in one line why a block does not compile.

    Raises:
        ResourceError: One does not.
    """
    try:
        yield
    except RuntimeError as fault:
        from torch._dynamo.exc import TorchDynamoException

        if not isinstance(fault, TorchDynamoException):
            raise
        why = str(fault).strip().split("\n")[0]
        raise ResourceError("a block does not compile", value=why, fix=COMPILE_FIX) from fault


def compiler_found() -> bool:
    """Whether torch.compile will find what it needs to build code for this processor."""
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")) is not None


@contextmanager
def prepared(blocks: Sequence[nn.Module], *, recompute: bool) -> Generator[None]:
    """Wrap the blocks' forward for activation checkpointing if asked, and take everything off again at the end."""
    try:
        if recompute:
            for block in blocks:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        yield
    finally:
        compile_blocks(blocks, on=False)
        for block in blocks:
            block.__dict__.pop("forward", None)


def eager() -> AbstractContextManager[Any]:
    """A context without compiled code: a look at the model has other shapes, and each would cost a compilation."""
    return cast(Any, torch.compiler.set_stance("force_eager"))
