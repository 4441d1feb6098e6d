"""A diffusion model on disk: a folder of diffusers.

Where diffusers has a pipeline that makes the model's pictures, the folder is that pipeline (model_index.json, unet/,
scheduler/); else it is the net (config.json and its weights), which diffusers opens as a model, beside scheduler/ where
there is one. Weights are float32 in safetensors; nothing is ever unpickled.
"""

import re
from pathlib import Path
from typing import Any

import torch

from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.core.tensors import check_shapes, load_tensors, save_tensors
from makar.families.diffusion.build import build
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.denoise import Net, config_of
from makar.families.diffusion.ecosystem import (
    NETS,
    VERSION,
    config_from,
    net_to_ecosystem,
    pipeline_of,
    scheduler_of,
)

WEIGHTS = "diffusion_pytorch_model.safetensors"

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What attention's layers are called in folders of before 2023."""

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def save(model: Model[Net], folder: Path) -> None:
    """Write a model into an existing empty folder."""
    config = config_of(model)
    pipeline, scheduler = pipeline_of(config), scheduler_of(config)
    place = folder / "unet" if pipeline else folder
    place.mkdir(exist_ok=True)
    write_json(place / "config.json", net_to_ecosystem(config, model.generation))
    save_tensors(place / WEIGHTS, {name: tensor.float() for name, tensor in model.net.state_dict().items()})
    if scheduler is not None:
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    if pipeline and scheduler is not None:
        parts = {"scheduler": ["diffusers", scheduler["_class_name"]], "unet": ["diffusers", "UNet2DModel"]}
        write_json(folder / "model_index.json", {"_class_name": pipeline, "_diffusers_version": VERSION, **parts})


def net_place(folder: Path) -> Path:
    """Where in a folder the net lies: in the folder itself, or in a pipeline's part."""
    if (folder / "config.json").exists():
        return folder
    return folder / ("transformer" if (folder / "transformer" / "config.json").exists() else "unet")


def recognises(folder: Path) -> bool:
    """Whether the folder holds a net of this family, with a VAE beside it or without."""
    try:
        return read_object(net_place(folder) / "config.json").get("_class_name") in NETS
    except ModelError:
        return False


def read(folder: Path) -> tuple[DiffusionConfig, Net, dict[str, Any], dict[str, Any]]:
    """Read a model's config, net, parts and generation defaults.

    Raises:
        ModelError: A file is missing, damaged or does not fit the others, or the pipeline needs a VAE.
    """
    if (folder / "vae").exists():
        raise ModelError(
            "this pipeline works on a VAE's codes, not on pixels", where=folder, fix="open a pipeline without vae/"
        )
    place = net_place(folder)
    found, scheduler = read_object(place / "config.json"), folder / "scheduler" / "scheduler_config.json"
    config = config_from(found, read_object(scheduler) if scheduler.exists() else {}, place / "config.json")
    own = found.get("_makar")
    generation = own.get("generation", {}) if isinstance(own, dict) else {}
    return config, read_net(config, place), {}, generation


def read_net(config: DiffusionConfig, place: Path) -> Net:
    """The net with the folder's weights, in float32; nothing is allocated before the shapes are known to fit."""
    where = place / WEIGHTS
    if not where.exists() and any(place.glob("*.bin")):
        raise ModelError(
            "the weights are pickled, and a pickle can run any program",
            where=place,
            fix="save them as safetensors with the tool that made them",
        )
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in load_tensors(where).items():
        if tensor.dtype not in FLOATS:
            raise ModelError(
                f"tensor {name!r} is not of floating point", where=where, value=str(tensor.dtype), fix="open another"
            )
        weights[modern(name)] = tensor.float()
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in build(config).state_dict().items()}
    check_shapes(where, weights, shapes)
    with torch.random.fork_rng(devices=[]):  # positions are not in the file, so the net is built in earnest
        net = build(config)
    net.load_state_dict(weights, assign=True)
    return net


def modern(name: str) -> str:
    """A tensor's name as diffusers has it now."""
    return re.sub(
        r"(attentions\.\d+\.)(query|key|value|proj_attn)\.", lambda found: f"{found[1]}{OLD_NAMES[found[2]]}.", name
    )
