"""A GAN on disk: config.json and model.safetensors with both players; no ecosystem has a layout of its own for it.

What is saved are the averaged weights where training keeps an average. Nothing is ever unpickled.
"""

from pathlib import Path
from typing import Any

import torch

from makar.core.config import parse
from makar.core.errors import ModelError, RecipeError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.core.tensors import check_shapes, load_tensors, save_tensors
from makar.families.gan.build import Gan, config_of
from makar.families.gan.config import GanConfig

CONFIG, WEIGHTS = "config.json", "model.safetensors"

TYPE = "makar-gan"
"""How the config says whose folder it is, under the name that transformers uses for it."""

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def save(model: Model[Gan], folder: Path) -> None:
    """Write a model into an existing empty folder."""
    plain = config_of(model).model_dump(mode="json")
    write_json(folder / CONFIG, {"model_type": TYPE, **plain, "generation": dict(model.generation)})
    save_tensors(folder / WEIGHTS, {name: tensor.float() for name, tensor in model.net.state_dict().items()})


def recognises(folder: Path) -> bool:
    """Whether the folder holds a net of this family."""
    try:
        return read_object(folder / CONFIG).get("model_type") == TYPE
    except ModelError:
        return False


def read(folder: Path) -> tuple[GanConfig, Gan, dict[str, Any], dict[str, Any]]:
    """Read a model's config, net, parts and generation defaults.

    Raises:
        ModelError: A file is missing, damaged or does not fit the other.
    """
    plain = read_object(folder / CONFIG)
    generation = plain.pop("generation", {})
    plain.pop("model_type", None)
    try:
        config = parse(GanConfig, plain, folder / CONFIG)
    except RecipeError as fault:
        raise ModelError(str(fault), fix="copy the whole folder again") from None
    if not isinstance(generation, dict):
        raise ModelError("not a table of settings", where=folder / CONFIG, value=generation, fix="write {}")
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in load_tensors(folder / WEIGHTS).items():
        if tensor.dtype not in FLOATS:
            what = f"tensor {name!r} is not of floating point"
            raise ModelError(what, where=folder / WEIGHTS, value=str(tensor.dtype), fix="copy the whole folder again")
        weights[name] = tensor.float()
    with torch.device("meta"):
        net = Gan(config)
    check_shapes(folder / WEIGHTS, weights, {name: tensor.shape for name, tensor in net.state_dict().items()})
    net.load_state_dict(weights, assign=True)
    return config, net, {}, generation
