"""Our config in the words of transformers' `CLIPModel` and `SiglipModel`, and back. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from makar.core.config import parse
from makar.core.errors import ModelError, RecipeError
from makar.families.clip.config import ClipConfig
from makar.nets.clip_config import LOGIT_SCALE, ClipTextConfig, ClipVisionConfig

ARCHITECTURES: Mapping[str, str] = {"clip": "CLIPModel", "siglip": "SiglipModel"}
"""The kinds of model, by `model_type`."""

TEXT = "clip_text_model"
"""The `model_type` of a tower that reads, alone."""

USUAL_TOWER: Mapping[str, Mapping[str, Any]] = {
    "clip": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 12},
    "siglip": {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "num_hidden_layers": 12, "hidden_size": 768,
               "intermediate_size": 3072, "num_attention_heads": 12},
}  # fmt: skip
USUAL_TEXT: Mapping[str, Mapping[str, Any]] = {
    "clip": {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "vocab_size": 49408,
             "max_position_embeddings": 77},
    "siglip": {"vocab_size": 32000, "max_position_embeddings": 64},
}  # fmt: skip
USUAL_VISION: Mapping[str, Mapping[str, Any]] = {
    "clip": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "patch_size": 32},
    "siglip": {"patch_size": 16},
}
"""What a config.json means by fields that it leaves out."""

IDS = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1}


def to_ecosystem(config: ClipConfig) -> dict[str, Any]:
    """The content of config.json."""
    text, vision = config.text.model_dump(), config.vision.model_dump()
    shared = {"projection_dim": config.projection_dim}
    if config.kind == "siglip":
        text |= {"model_type": "siglip_text_model", "projection_size": config.projection_dim}
        vision |= {"model_type": "siglip_vision_model"}
        more: dict[str, Any] = {}
    else:
        text |= {"model_type": TEXT, **shared}
        vision |= {"model_type": "clip_vision_model", **shared}
        more = {**shared, "logit_scale_init_value": config.logit_scale_init_value}
    return {
        "architectures": [ARCHITECTURES[config.kind]],
        "model_type": config.kind,
        "dtype": "float32",
        "initializer_factor": 1.0,
        **more,
        "text_config": text,
        "vision_config": vision,
    }


def from_ecosystem(
    found: Mapping[str, Any], mean: tuple[float, ...], std: tuple[float, ...], where: object
) -> ClipConfig:
    """The family's config from a folder's config.json.

    Args:
        found: Its content.
        mean: Of the pictures' channels, as the folder says.
        std: Their standard deviation.
        where: For messages.

    Raises:
        ModelError: It asks for what our nets lack.
    """
    kind = found["model_type"]
    said = {part: tower(found, part, where) for part in ("text", "vision")}
    if kind == "siglip" and not said["vision"].get("vision_use_head", True):
        fix = "give one whose vision tower has its head"
        raise ModelError("makar's SigLIP pools its patches", where=where, value="vision_use_head = false", fix=fix)
    text = IDS | {**USUAL_TOWER[kind], **USUAL_TEXT[kind]} | said["text"]
    vision = {"image_size": 224, **USUAL_TOWER[kind], **USUAL_VISION[kind]} | said["vision"]
    plain = {
        "kind": kind,
        "text": {name: text[name] for name in ClipTextConfig.model_fields if text.get(name) is not None},
        "vision": {name: vision[name] for name in ClipVisionConfig.model_fields if vision.get(name) is not None},
        "projection_dim": vision["hidden_size"] if kind == "siglip" else found.get("projection_dim") or 512,
        "logit_scale_init_value": found.get("logit_scale_init_value") or LOGIT_SCALE,
        "image_mean": mean,
        "image_std": std,
    }
    try:
        return parse(ClipConfig, plain, where)
    except RecipeError as fault:
        raise ModelError(str(fault), fix="open a model of another shape") from None


def tower(found: Mapping[str, Any], part: str, where: object) -> dict[str, Any]:
    """What a config.json says of a tower; very old ones say it twice, and mean the second.

    Raises:
        ModelError: It is no table.
    """
    said: dict[str, Any] = {}
    for name in (f"{part}_config", f"{part}_config_dict"):
        table = found.get(name) or {}
        if not isinstance(table, Mapping):
            raise ModelError(f"{name!r} is not a table", where=where, value=table, fix="copy the whole folder again")
        said |= table
    return said


def text_to_ecosystem(config: ClipTextConfig, projection_dim: int) -> dict[str, Any]:
    """The config.json of a tower that reads, alone."""
    return {
        "architectures": ["CLIPTextModelWithProjection"],
        "model_type": TEXT,
        "dtype": "float32",
        **config.model_dump(),
        "projection_dim": projection_dim,
    }


def text_from_ecosystem(found: Mapping[str, Any], where: object) -> tuple[ClipTextConfig, int]:
    """The shape of a tower that reads, and how wide its projection is.

    Raises:
        ModelError: It is no such tower.
    """
    if found.get("model_type") != TEXT:
        fix = "name a folder of CLIPTextModelWithProjection"
        raise ModelError("not a tower of CLIP that reads", where=where, value=found.get("model_type"), fix=fix)
    said = IDS | {**USUAL_TOWER["clip"], **USUAL_TEXT["clip"]} | dict(found)
    plain = {name: said[name] for name in ClipTextConfig.model_fields if said.get(name) is not None}
    try:
        return parse(ClipTextConfig, plain, where), int(said.get("projection_dim") or 512)
    except RecipeError as fault:
        raise ModelError(str(fault), fix="open a model of another shape") from None
