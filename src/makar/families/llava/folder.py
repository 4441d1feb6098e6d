"""A model that sees and talks on disk: a folder of `LlavaForConditionalGeneration`, which transformers opens as it is.

Beside what a language model's folder holds lie preprocessor_config.json, which says how pictures are prepared, and
processor_config.json, which says how many tokens each becomes. Nothing is ever unpickled.
"""

import re
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from makar.codecs.image_processor import FILE, ImageProcessor, read_processor
from makar.codecs.sight import spelling
from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.core.tensors import check_shapes, save_tensors
from makar.families.language.folder import read_parts as read_language_parts
from makar.families.language.folder import save_parts as save_language_parts
from makar.families.language.folder import special_ids, tokenizer_mark
from makar.families.llava.config import LlavaConfig
from makar.families.llava.ecosystem import KIND, from_ecosystem, part, to_ecosystem
from makar.families.weights import read_sharded
from makar.nets.llava import Llava

EMBEDDING, HEAD = "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"

TOWER = "vision_tower."

NAMES = (
    (r"model\.language_model\.(?!model\.)", "language_model.model."),
    (r"model\.(vision_tower|multi_modal_projector)\.", r"\1."),
    (r"lm_head\.", "language_model.lm_head."),
    (r"vision_tower\.vision_model\.", TOWER),
)
"""What tensors are called elsewhere, and here; each version of transformers has names of its own."""


def save(model: Model[Llava], folder: Path) -> None:
    """Write a model into an existing empty folder."""
    save_parts(model, folder)
    config = model.config
    assert isinstance(config, LlavaConfig)
    write_json(folder / "config.json", to_ecosystem(config) | special_ids(model))
    tensors = {name.replace(TOWER, f"{TOWER}vision_model."): t.float() for name, t in model.net.state_dict().items()}
    save_tensors(folder / "model.safetensors", tensors, tokenizer_mark(model))


def save_parts(model: Model[Llava], folder: Path) -> None:
    """Write the tokenizer, the defaults of generation, and how pictures are prepared."""
    save_language_parts(model, folder)
    config, codec = model.config, model.parts.get("codec")
    assert isinstance(config, LlavaConfig)
    write_json(folder / FILE, processor_of(config).to_ecosystem() | {"processor_class": "LlavaProcessor"})
    joined: dict[str, Any] = {
        "processor_class": "LlavaProcessor",
        "patch_size": config.vision.patch_size,
        "vision_feature_select_strategy": config.vision_feature_select_strategy,
        "num_additional_image_tokens": 1,  # the tower's first token, which "default" then takes away
    }
    if codec is not None:
        joined["image_token"] = spelling(codec, config.image_token_index)
    write_json(folder / "processor_config.json", joined)


def recognises(folder: Path) -> bool:
    """Whether config.json names a kind of model of this family."""
    try:
        return read_object(folder / "config.json").get("model_type") == KIND
    except ModelError:
        return False


def read(folder: Path) -> tuple[LlavaConfig, Llava, dict[str, Any], dict[str, Any]]:
    """Read a model's config, net, parts and defaults of generation.

    Raises:
        ModelError: A file is missing, damaged or does not fit the others, or the model is of another kind.
    """
    place = folder / "config.json"
    found = read_object(place)
    processor = read_processor(folder, part(found, "vision_config", place).get("image_size", 224))
    config = from_ecosystem(found, processor.mean, processor.std, place)
    config = config.model_copy(update={"center_crop": processor.center_crop})
    return config, read_net(config, folder), *read_parts(folder, config)


def read_parts(folder: Path, config: LlavaConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the tokenizer and the defaults of generation, as far as they are there.

    Raises:
        ModelError: They are damaged, or there are more tokens than the config has.
    """
    return read_language_parts(folder, config.text)


def read_net(config: LlavaConfig, folder: Path) -> Llava:
    """The net with the folder's weights, in float32; nothing is allocated before the shapes are known to fit."""
    where, found = read_sharded(folder)
    weights = named(found)
    tied = config.text.tie_word_embeddings and EMBEDDING in weights and HEAD in weights
    if tied and not torch.equal(weights.pop(HEAD), weights[EMBEDDING]):
        fix = "set tie_word_embeddings to false in config.json"
        raise ModelError(f"{HEAD!r} is not the embedding although config.json ties them", where=where, fix=fix)
    with torch.device("meta"):
        net = Llava(config)
    check_shapes(where, weights, {name: tensor.shape for name, tensor in net.state_dict().items()})
    net.load_state_dict(weights, assign=True)
    return net


def named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that they have here."""
    return {reduce(lambda known, each: re.sub(f"^{each[0]}", each[1], known), NAMES, n): t for n, t in weights.items()}


def processor_of(config: LlavaConfig) -> ImageProcessor:
    """How pictures are prepared for a model."""
    return ImageProcessor(config.vision.image_size, config.image_mean, config.image_std, config.center_crop)
