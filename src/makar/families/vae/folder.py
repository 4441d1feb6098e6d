"""A variational autoencoder on disk: config.json, model.safetensors and the directions that it found.

No layout of the field's knows a plain variational autoencoder, so this is makar's own; `docs/vae.md` describes it.
"""

from pathlib import Path
from typing import Any

import torch

from makar.core.config import parse
from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.core.tensors import check_shapes, load_tensors, save_tensors
from makar.families.vae.build import build
from makar.families.vae.config import VaeConfig
from makar.families.vae.found import DIRECTIONS, directions_of
from makar.families.vae.net import Vae, config_of

KIND = "makar-vae"
WEIGHTS, WAYS = "model.safetensors", "directions.safetensors"


def save(model: Model[Vae], folder: Path) -> None:
    """Write a model into an existing empty folder."""
    config = config_of(model).model_dump(mode="json")
    write_json(folder / "config.json", {"model_type": KIND, **config, "generation": dict(model.generation)})
    save_tensors(folder / WEIGHTS, {name: tensor.float() for name, tensor in model.net.state_dict().items()})
    if ways := directions_of(model):
        save_tensors(folder / WAYS, ways)


def recognises(folder: Path) -> bool:
    """Whether the folder holds a model of this family."""
    try:
        return read_object(folder / "config.json").get("model_type") == KIND
    except ModelError:
        return False


def read(folder: Path) -> tuple[VaeConfig, Vae, dict[str, Any], dict[str, Any]]:
    """Read a model's config, net, parts and generation defaults.

    Raises:
        ModelError: A file is missing, damaged or does not fit the other.
    """
    found = read_object(folder / "config.json")
    del found["model_type"]
    generation = found.pop("generation", {})
    if not isinstance(generation, dict):
        what, place = "not a table of settings", folder / "config.json"
        raise ModelError(what, where=place, value=generation, fix="copy the whole folder again")
    config = parse(VaeConfig, found, folder / "config.json")
    weights = load_tensors(folder / WEIGHTS)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in build(config).state_dict().items()}
    check_shapes(folder / WEIGHTS, weights, shapes)
    with torch.random.fork_rng(devices=[]):
        net = build(config)
    net.load_state_dict(weights)
    return config, net, read_directions(folder / WAYS, net.code_size), generation


def read_directions(place: Path, size: int) -> dict[str, Any]:
    """The model's parts: its directions, where it has some.

    Raises:
        ModelError: The file is damaged, or belongs to another model.
    """
    if not place.exists():
        return {}
    found = load_tensors(place)
    check_shapes(place, found, {name: torch.Size([size]) for name in found})
    return {DIRECTIONS: found}
