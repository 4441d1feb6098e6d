"""What a net is told of a text: a vector for each token, and one for the whole.

They are put together as `StableDiffusion3Pipeline` does it, which reads a text with two CLIP towers: their vectors side
by side, and zeros up to the net's width. A tower that is alone stands in both slots.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from makar.core.errors import ModelError
from makar.core.nouns import Batch, Model, TextEncoder
from makar.families.diffusion.towers import SLOTS, Towers
from makar.nets.mmdit_config import MMDiTConfig

TEXTS = ("tokens", "text_tokens", "text_pooled")
"""Columns of a batch that say a row's text: its tokens, or what the tower said of them."""


class Caption(NamedTuple):
    """Some texts, as the net takes them.

    Args:
        tokens: The vectors of each token.
        pooled: The vector of each text.
    """

    tokens: Float[Tensor, "rows length joint"]
    pooled: Float[Tensor, "rows pooled"]


def reads(model: Model[Any]) -> bool:
    """Whether the net is told texts."""
    return isinstance(shape_of(model), MMDiTConfig)


def shape_of(model: Model[Any]) -> Any:
    """The net's config."""
    return model.config.net  # pyright: ignore[reportAttributeAccessIssue]: of this family


def encoder_of(model: Model[Any]) -> TextEncoder:
    """What reads texts for the net.

    Raises:
        ModelError: There is none, or the net was made for vectors of another width.
    """
    net, found = shape_of(model), model.parts.get("text")
    if not isinstance(found, TextEncoder):
        fix, value = "name a trained CLIP: parts = {text = '@clip'}", None if found is None else type(found).__name__
        raise ModelError("nothing reads texts for this model", where="parts.text", value=value, fix=fix)
    width, pooled = found.width * slots(found), found.pooled_width * slots(found)
    if width > net.joint_attention_dim:
        what, fix = "the text tower is wider than the net reads", f"set it to {width}"
        raise ModelError(what, where="model.net.joint_attention_dim", value=net.joint_attention_dim, fix=fix)
    if pooled != net.pooled_projection_dim:
        what, fix = "the text tower's vectors have another width", f"set it to {pooled}"
        raise ModelError(what, where="model.net.pooled_projection_dim", value=net.pooled_projection_dim, fix=fix)
    return found


def slots(text: TextEncoder) -> int:
    """How often what a tower says stands in a row."""
    return 1 if isinstance(text, Towers) else len(SLOTS)


@torch.no_grad()
def caption_of(model: Model[Any], ids: Int[Tensor, "rows length"]) -> Caption:
    """What the net is told of texts.

    Raises:
        ModelError: As `encoder_of`.
    """
    return in_slots(model, *encoder_of(model).features(ids))


def in_slots(
    model: Model[Any], tokens: Float[Tensor, "rows length width"], pooled: Float[Tensor, "rows whole"]
) -> Caption:
    """What a tower said of texts, as the net is told of it.

    Raises:
        ModelError: As `encoder_of`.
    """
    count = slots(encoder_of(model))
    wide = tokens.repeat(1, 1, count)
    return Caption(F.pad(wide, (0, shape_of(model).joint_attention_dim - wide.shape[2])), pooled.repeat(1, count))


def with_captions(model: Model[Any], batch: Batch) -> Batch:
    """Rows with what the net is told of their texts, `told` and `pooled`.

    They stand in place of the texts' `tokens`, or of `text_tokens` and `text_pooled`, what the tower has said already.

    Raises:
        ModelError: As `encoder_of`.
    """
    if "told" in batch:
        return batch
    rest = {name: column for name, column in batch.items() if name not in TEXTS}
    if "text_tokens" in batch:
        found = in_slots(model, batch["text_tokens"], batch["text_pooled"])
    else:
        found = caption_of(model, batch["tokens"])
    return {**rest, "told": found.tokens, "pooled": found.pooled}


def empty(model: Model[Any]) -> Caption:
    """What the net is told of no text at all, one row."""
    return caption_of(model, encoder_of(model).ids([""]).to(model.device))
