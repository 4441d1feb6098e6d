"""How GGUF packs numbers: to float32.

The plain blocks, a scale and 32 numbers, are unpacked here, three times as fast as by `gguf`, which stays the judge of
them in the tests; the superblocks of the K kinds are unpacked by `gguf` itself.
"""

import math
from collections.abc import Callable, Mapping

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from jaxtyping import Float, UInt8
from torch import Tensor

Blocks = UInt8[Tensor, "blocks width"]


def half(blocks: Blocks, place: int) -> Float[Tensor, "blocks 1"]:
    """The number in half precision that begins at a byte of each block."""
    return blocks[:, place : place + 2].contiguous().view(torch.float16).float()


def nibbles(packed: Blocks) -> Float[Tensor, "blocks 32"]:
    """Sixteen bytes to 32 numbers from 0 to 15: the low halves, then the high ones."""
    found = torch.empty(len(packed), 2, packed.shape[1])
    found[:, 0], found[:, 1] = packed & 15, packed >> 4
    return found.flatten(1)


def q8_0(blocks: Blocks) -> Float[Tensor, "blocks 32"]:
    """A scale, 32 signed bytes."""
    return blocks[:, 2:].view(torch.int8).float().mul_(half(blocks, 0))


def q4_0(blocks: Blocks) -> Float[Tensor, "blocks 32"]:
    """A scale, 32 numbers from -8 to 7."""
    return nibbles(blocks[:, 2:]).sub_(8).mul_(half(blocks, 0))


def q4_1(blocks: Blocks) -> Float[Tensor, "blocks 32"]:
    """A scale, a least number, 32 steps from 0 to 15."""
    return nibbles(blocks[:, 4:]).mul_(half(blocks, 0)).add_(half(blocks, 2))


PLAIN: Mapping[Kind, Callable[[Blocks], Float[Tensor, "blocks 32"]]] = {
    Kind.Q8_0: q8_0,
    Kind.Q4_0: q4_0,
    Kind.Q4_1: q4_1,
}

FLOATS: Mapping[Kind, torch.dtype] = {Kind.F32: torch.float32, Kind.F16: torch.float16, Kind.BF16: torch.bfloat16}

KINDS = (*FLOATS, *PLAIN, Kind.Q4_K, Kind.Q6_K)
"""What can be read."""


def unpack(kind: Kind, raw: memoryview, shape: tuple[int, ...]) -> Float[Tensor, "..."]:
    """A tensor in float32, in memory of its own.

    Args:
        kind: One of `KINDS`.
        raw: Its bytes.
        shape: As torch counts, slowest dimension first.
    """
    if kind in FLOATS:
        found = torch.frombuffer(bytearray(raw), dtype=FLOATS[kind]).float()
    elif kind in PLAIN:
        _, width = gguf.GGML_QUANT_SIZES[kind]
        found = PLAIN[kind](torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, width))
    else:
        rows = np.frombuffer(raw, np.uint8).reshape(math.prod(shape[:-1]), -1)
        with np.errstate(all="ignore"):  # a damaged scale may overflow: that is the model's fault, not a warning
            found = torch.from_numpy(gguf.quants.dequantize(rows, kind))
    return found.view(shape)
