"""A net that begins from others: the tower of a CLIP, the decoder of a language model, and between them fresh layers.

What is taken is frozen, so that at first only what is fresh learns; a recipe's next stage begins from the result and
learns all, or an adapter. Paper: arXiv 2304.08485, section 4.2 (the two stages).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from makar.codecs.sight import with_image_token
from makar.core.errors import RecipeError
from makar.core.nouns import Model
from makar.families.llava.config import LlavaConfig
from makar.nets.clip import ClipVisionModel
from makar.nets.decoder import Decoder
from makar.nets.llava import Llava


def composed(model: Model[Llava]) -> Model[Llava]:
    """A fresh model with the weights of its parts "vision" and "language", which are then parts no longer.

    Raises:
        RecipeError: A part is of another kind, or of another shape than the recipe says.
    """
    parts = dict(model.parts)
    vision, language = parts.pop("vision", None), parts.pop("language", None)
    if vision is not None:
        model = with_eyes(model, vision)
    if language is not None:
        parts |= with_words(model, language)
    return replace(model, parts=parts)


def with_eyes(model: Model[Llava], found: Any) -> Model[Llava]:
    """The model with a CLIP's tower, which sees pictures as it was taught to."""
    tower = getattr(getattr(found, "net", None), "vision_model", None)
    if not isinstance(tower, ClipVisionModel):
        raise RecipeError("no tower of CLIP that sees", where="parts.vision", fix="name a run of the family 'clip'")
    config: Any = model.config
    same_shape("vision", config.vision, tower.config)
    take(model.net.vision_tower, tower)
    seen = {name: getattr(found.config, name) for name in ("image_mean", "image_std", "center_crop")}
    return replace(model, config=config.model_copy(update=seen))


def with_words(model: Model[Llava], found: Any) -> dict[str, Any]:
    """Give the model a decoder's weights.

    Returns:
        The parts that come with it: its tokenizer, with a token for pictures.
    """
    decoder, config = getattr(found, "net", None), model.config
    assert isinstance(config, LlavaConfig)
    if not isinstance(decoder, Decoder):
        raise RecipeError("no language model", where="parts.language", fix="name a run of the family 'language'")
    codec = with_image_token(found.parts["codec"], config.image_token_index)
    same_shape("text", config.text, decoder.config, grown=("vocab_size",))
    take(model.net.language_model, decoder)
    return {"codec": codec}


def same_shape(name: str, wanted: Any, found: Any, grown: tuple[str, ...] = ()) -> None:
    """Refuse weights of another shape than the recipe's net.

    Args:
        name: The table of the recipe's model.
        wanted: What it says.
        found: The shape of the weights.
        grown: Fields of which the recipe may say more.

    Raises:
        RecipeError: Names the first field that differs.
    """
    for field in type(wanted).model_fields:
        ours, theirs = getattr(wanted, field), getattr(found, field)
        if field == "initializer_range" or ours == theirs or (field in grown and ours > theirs):
            continue
        part = {"vision": "vision", "text": "language"}[name]
        fix = f"set model.{name}.{field}={theirs!r}"
        raise RecipeError(f"the part {part!r} has another {field}", where=f"model.{name}", value=ours, fix=fix)


@torch.no_grad()
def take(net: nn.Module, found: nn.Module) -> None:
    """Copy weights, and freeze them; a longer table keeps what it has beyond them."""
    given = found.state_dict()
    for name, tensor in net.state_dict().items():
        tensor[: len(given[name])].copy_(given[name]) if tensor.ndim else tensor.copy_(given[name])
    net.requires_grad_(False)
