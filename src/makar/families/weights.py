"""Weights in the layout of diffusers: one safetensors file, float32, nothing ever unpickled."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from makar.core.errors import ModelError
from makar.core.tensors import check_shapes, load_tensors, save_tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What attention's layers are called in folders of before 2023."""

FLOATS = (torch.float32, torch.bfloat16, torch.float16)

Net = TypeVar("Net", bound=nn.Module)


def write_weights(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write a net's tensors into a folder."""
    save_tensors(folder / WEIGHTS, {name: tensor.float() for name, tensor in tensors.items()})


def read_weights(folder: Path) -> dict[str, Tensor]:
    """A net's tensors, in float32, by the names that diffusers has now.

    Raises:
        ModelError: They are missing, pickled, or not of floating point.
    """
    where = folder / WEIGHTS
    if not where.exists() and any(folder.glob("*.bin")):
        raise ModelError(
            "the weights are pickled, and a pickle can run any program",
            where=folder,
            fix="save them as safetensors with the tool that made them",
        )
    weights: dict[str, Tensor] = {}
    for name, tensor in load_tensors(where).items():
        if tensor.dtype not in FLOATS:
            raise ModelError(
                f"tensor {name!r} is not of floating point", where=where, value=str(tensor.dtype), fix="open another"
            )
        weights[modern(name)] = tensor.float()
    return weights


def modern(name: str) -> str:
    """A tensor's name as diffusers has it now."""
    return re.sub(
        r"(attentions\.\d+\.)(query|key|value|proj_attn)\.", lambda found: f"{found[1]}{OLD_NAMES[found[2]]}.", name
    )


def restored(build: Callable[[], Net], weights: Mapping[str, Tensor], folder: Path) -> Net:
    """A net with weights; nothing is allocated before the shapes are known to fit.

    Raises:
        ModelError: A tensor is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in build().state_dict().items()}
    check_shapes(folder / WEIGHTS, weights, shapes)
    with torch.random.fork_rng(devices=[]):  # what is no weight is not in the file, so the net is built in earnest
        net = build()
    net.load_state_dict(weights, assign=True)
    return net
