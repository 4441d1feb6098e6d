"""Two towers on disk: a folder of transformers' `CLIPModel` or `SiglipModel`, with its tokenizer and its processor."""

from pathlib import Path
from typing import Any

import torch

from makar.codecs.captions import Captions
from makar.codecs.image_processor import FILE, read_processor
from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.core.tensors import check_shapes, save_tensors
from makar.families.clip.build import Net, build, check_end, config_of, processor_of
from makar.families.clip.config import ClipConfig
from makar.families.clip.ecosystem import ARCHITECTURES, from_ecosystem, to_ecosystem
from makar.families.weights import read_sharded

WEIGHTS = "model.safetensors"


def save(model: Model[Net], folder: Path) -> None:
    """Write a model into an existing empty folder."""
    config = config_of(model)
    save_parts(model, folder)
    write_json(folder / "config.json", to_ecosystem(config))
    write_json(folder / FILE, {"processor_class": "CLIPProcessor", **processor_of(config).to_ecosystem()})
    save_tensors(folder / WEIGHTS, {name: tensor.float() for name, tensor in model.net.state_dict().items()})


def save_parts(model: Model[Net], folder: Path) -> None:
    """Write the tokenizer."""
    if (codec := model.parts.get("codec")) is not None:
        codec.save(folder)


def recognises(folder: Path) -> bool:
    """Whether config.json names a kind of model of this family."""
    try:
        return read_object(folder / "config.json").get("model_type") in tuple(ARCHITECTURES)
    except ModelError:
        return False


def read(folder: Path) -> tuple[ClipConfig, Net, dict[str, Any], dict[str, Any]]:
    """Read a model's config, net, parts and generation defaults.

    Raises:
        ModelError: A file is missing, damaged or does not fit the others.
    """
    place = folder / "config.json"
    found = read_object(place)
    size = (found.get("vision_config") or {}).get("image_size", 224)
    processor = read_processor(folder, size)
    channels = (found.get("vision_config") or {}).get("num_channels", 3)
    config = from_ecosystem(found, processor.mean[:channels], processor.std[:channels], place)
    config = config.model_copy(update={"center_crop": processor.center_crop})
    where, weights = read_sharded(folder)
    with torch.device("meta"):
        net = build(config)
    check_shapes(where, weights, {name: tensor.shape for name, tensor in net.state_dict().items()})
    net.load_state_dict(weights, assign=True)
    return config, net, *read_parts(folder, config)


def read_parts(folder: Path, config: ClipConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the tokenizer, as far as it is there; a SigLIP made elsewhere has one of another kind, and keeps it.

    Raises:
        ModelError: It is damaged, has more tokens than the net, or ends texts with another.
    """
    files = [(folder / name).is_file() for name in ("tokenizer.json", "vocab.json")]
    if not any(files) or (folder / "spiece.model").exists():
        return {}, {}
    codec = Captions.load(folder)
    if codec.vocab_size > config.text.vocab_size:
        value = f"{codec.vocab_size} and {config.text.vocab_size}"
        what, fix = "the tokenizer has more tokens than the model", "copy both from the same model"
        raise ModelError(what, where=folder, value=value, fix=fix)
    if config.kind == "clip":
        check_end(codec, config.text, folder)
    return {"codec": codec}, {}
