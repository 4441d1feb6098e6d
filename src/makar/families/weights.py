"""Weights in the layouts of diffusers and of transformers: safetensors, in float32, nothing ever unpickled."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from makar.core.errors import ModelError
from makar.core.files import read_object
from makar.core.tensors import check_shapes, load_tensors, save_tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What attention's layers are called in folders of before 2023."""

FLOATS = (torch.float32, torch.bfloat16, torch.float16)

OLD_BUFFERS = ("rotary_emb.inv_freq", "position_ids")
"""What old folders of transformers keep although the config says it."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

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


def read_sharded(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """All tensors of a folder of transformers in float32, in one file or in shards, and the file that lists them.

    Raises:
        ModelError: They are missing, pickled, or not of floating point.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        where, shards = single, [single]
    elif index.exists():
        where, shards = index, [folder / name for name in shard_names(index)]
    elif any(found for pattern in PICKLES for found in folder.glob(pattern)):
        raise ModelError(
            "the weights are pickled, and a pickle can run any program",
            where=folder,
            fix="save them as safetensors with the tool that made them",
        )
    else:
        raise ModelError("there are no weights", where=single, fix="copy the whole folder again")
    weights: dict[str, Tensor] = {}
    for shard in shards:
        for name, tensor in load_tensors(shard).items():
            if name.endswith(OLD_BUFFERS):
                continue
            if tensor.dtype not in FLOATS:
                raise ModelError(
                    f"tensor {name!r} is not of floating point",
                    where=shard,
                    value=str(tensor.dtype),
                    fix="open the model's unquantised folder",
                )
            weights[name] = tensor.float()
    return where, weights


def shard_names(index: Path) -> list[str]:
    """The files that an index names, none outside its folder."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise ModelError("the index names no tensor files", where=index, fix="copy the whole folder again")
    names = sorted(set(places.values()))
    for name in names:
        if name == ".." or Path(name).name != name:
            raise ModelError(
                "the index names a file outside its folder", where=index, value=name, fix="do not trust it"
            )
    return names
