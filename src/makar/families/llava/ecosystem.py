"""`LlavaConfig` to and from the config.json of `LlavaForConditionalGeneration`. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from makar.core.config import parse
from makar.core.errors import ModelError, RecipeError
from makar.families.language.ecosystem import from_ecosystem as language_from
from makar.families.language.ecosystem import to_ecosystem as language_to
from makar.families.llava.config import LlavaConfig
from makar.nets.clip_config import ClipVisionConfig
from makar.nets.config import DecoderConfig

KIND, ARCHITECTURE = "llava", "LlavaForConditionalGeneration"

EYES = "clip_vision_model"
"""The kind of tower that is built here."""

FIRST_TEXT = {
    "model_type": "llama",
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
"""What LLaVA's folders mean by a field of `text_config` that they leave out."""

FIRST_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
}
"""The same of `vision_config`."""

SAME = (
    "image_token_index",
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "projector_hidden_act",
    "multimodal_projector_bias",
)
"""Fields with one name and one meaning on both sides."""


def to_ecosystem(config: LlavaConfig) -> dict[str, Any]:
    """The content of config.json, as `transformers` 4 and 5 read it."""
    vision = config.vision.model_dump()
    return {
        "architectures": [ARCHITECTURE],
        "model_type": KIND,
        "dtype": "float32",
        "text_config": language_to(config.text),
        "vision_config": {"model_type": EYES, **vision, "projection_dim": config.vision.hidden_size},
        "image_seq_length": config.places,
        "tie_word_embeddings": config.text.tie_word_embeddings,
        **{name: getattr(config, name) for name in SAME},
    }


def from_ecosystem(
    found: Mapping[str, Any], mean: tuple[float, ...], std: tuple[float, ...], where: object
) -> LlavaConfig:
    """The family's config from a folder's config.json.

    Args:
        found: Its content.
        mean: Of the pictures' channels, as the folder says.
        std: Their standard deviation.
        where: For messages.

    Raises:
        ModelError: Another kind of model, a part that is not built here, or fields that do not fit together.
    """
    text, vision = part(found, "text_config", where), part(found, "vision_config", where)
    if (kind := vision.get("model_type", EYES)) != EYES:
        raise ModelError("another tower than CLIP's", where=where, value=kind, fix=f"makar sees with {EYES!r}")
    if not isinstance(layer := found.get("vision_feature_layer", -2), int):
        fix = "only one layer of the tower is read here"
        raise ModelError("several layers of the tower are read", where=where, value=layer, fix=fix)
    spoken = language_from({**FIRST_TEXT, **text}, f"{where}: text_config").model_dump(exclude={"family"})
    if found.get("tie_word_embeddings"):
        spoken["tie_word_embeddings"] = True
    given: dict[str, Any] = {**FIRST_VISION, **vision}
    fields = {name: given[name] for name in ClipVisionConfig.model_fields if given.get(name) is not None}
    try:
        return parse(
            LlavaConfig,
            {
                "vision": fields,
                "text": DecoderConfig.model_validate(spoken),
                "image_mean": mean[: fields.get("num_channels", 3)],
                "image_std": std[: fields.get("num_channels", 3)],
                "image_token_index": found.get("image_token_index", found.get("image_token_id", 32_000)),
                **{name: found[name] for name in SAME[1:] if found.get(name) is not None},
            },
            where,
        )
    except RecipeError as fault:
        raise ModelError(fault.what, where=where, value=fault.value, fix=fault.fix) from None


def part(found: Mapping[str, Any], name: str, where: object) -> Mapping[str, Any]:
    """The config of one of the two models.

    Raises:
        ModelError: It is not there.
    """
    given = found.get(name)
    if not isinstance(given, Mapping):
        raise ModelError(f"{name!r} is missing", where=where, fix="copy the whole folder again")
    return given
