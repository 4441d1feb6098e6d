"""An autoencoder on disk: a folder of diffusers' `AutoencoderKL` or `VQModel`.

Beside the net's weights there may be `codebook.safetensors`, the running averages that a learned codebook goes on
from, and `critic/`, the weights of the second player.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.core.tensors import load_tensors, save_tensors
from makar.families.autoencoder.build import Contest, Net, autoencoder_of, build, config_of
from makar.families.autoencoder.config import AutoencoderConfig
from makar.families.autoencoder.ecosystem import CLASSES, from_ecosystem, to_ecosystem
from makar.families.weights import read_weights, restored, write_weights
from makar.nets.autoencoder_kl import VQModel
from makar.nets.quantizers import LookupFreeQuantizer, VectorQuantizer

CODEBOOK = "codebook.safetensors"

AVERAGES = ("quantize.count", "quantize.sum")
"""Tensors that `VQModel` of diffusers does not have."""

BOOK = "quantize.embedding.weight"
"""The codebook's name there, of signs too: the corners of a cube."""


def save(model: Model[Net], folder: Path) -> None:
    """Write a model into an existing empty folder."""
    write_json(folder / "config.json", to_ecosystem(config_of(model), model.generation))
    net = autoencoder_of(model.net)
    tensors = net.state_dict()
    averages = {name: tensors.pop(name) for name in AVERAGES if name in tensors}
    if isinstance(net, VQModel) and isinstance(net.quantize, LookupFreeQuantizer):
        tensors[BOOK] = net.quantize.codebook
    write_weights(tensors, folder)
    if averages:
        save_tensors(folder / CODEBOOK, averages)
    if isinstance(model.net, Contest):
        (folder / "critic").mkdir()
        write_weights(model.net.critic.state_dict(), folder / "critic")


def recognises(folder: Path) -> bool:
    """Whether the folder holds a net of this family."""
    try:
        return read_object(folder / "config.json").get("_class_name") in CLASSES.values()
    except ModelError:
        return False


def read(folder: Path) -> tuple[AutoencoderConfig, Net, dict[str, Any], dict[str, Any]]:
    """Read a model's config, net, parts and generation defaults.

    Raises:
        ModelError: A file is missing, damaged or does not fit the others.
    """
    where = folder / "config.json"
    found = read_object(where)
    config = from_ecosystem(found, where)
    weights, neck = read_weights(folder), config.net.bottleneck.kind
    if neck == "lfq":
        weights.pop(BOOK, None)
    remembered = neck == "vq" and (folder / CODEBOOK).exists()
    if neck == "vq" and BOOK in weights:
        weights |= load_tensors(folder / CODEBOOK) if remembered else without_past(weights[BOOK])
    if config.critic is not None:
        weights = {f"model.{name}": tensor for name, tensor in weights.items()}
        weights |= {f"critic.{name}": tensor for name, tensor in read_weights(folder / "critic").items()}
    net = restored(lambda: build(config), weights, folder)
    inner = autoencoder_of(net)
    if isinstance(inner, VQModel) and isinstance(inner.quantize, VectorQuantizer) and not remembered:
        inner.quantize.settle()
    generation = found.get("_makar", {}).get("generation", {})
    return config, net, {}, generation


def without_past(book: Tensor) -> dict[str, Tensor]:
    """Averages of the right shapes for a codebook that comes without."""
    return dict(zip(AVERAGES, (book.new_zeros(len(book)), book.new_zeros(book.shape)), strict=True))
