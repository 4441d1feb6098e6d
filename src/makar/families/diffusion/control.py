"""What a net is shown beside its text: edges, or what is known around a hole; how it is made of pictures.

Paper: ControlNet, arXiv 2302.05543.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.core.config import Config
from makar.core.errors import ModelError, RecipeError
from makar.core.nouns import LatentCodec, Model
from makar.core.random import Rng
from makar.families.diffusion.caption import Caption
from makar.families.diffusion.config import DiffusionConfig
from makar.nets.mmdit import MMDiT
from makar.nets.mmdit_config import ControlConfig, MMDiTConfig
from makar.nets.mmdit_control import Controlled

Images = Float[Tensor, "rows channels high wide"]
Seen = Float[Tensor, "rows shown lines places"]
Holes = Float[Tensor, "rows 1 high wide"]

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
"""The change from left to right; its transpose is that from top to bottom."""

SHARP = 4.0
"""A change that counts as an edge in full: that of an upright one from black to half bright."""

SMALLEST, LARGEST = 0.3, 0.8
"""Sides of the holes that are cut in training, as shares of the picture's."""


class Shown(NamedTuple):
    """What the net is told of some texts, and shown.

    Args:
        caption: Of the texts.
        control: What it is shown, as large as what it works on.
        strength: How much that counts in each row.
    """

    caption: Caption
    control: Seen
    strength: Float[Tensor, " rows"]


def control_in(model: Model[Any]) -> ControlConfig | None:
    """What the net is shown; None where that is nothing."""
    net = model.config.net  # pyright: ignore[reportAttributeAccessIssue]: of this family
    return net.control if isinstance(net, MMDiTConfig) else None


def showing(config: Config, control: ControlConfig) -> DiffusionConfig:
    """A model's config with what it is to be shown.

    Raises:
        RecipeError: Its net is no MMDiT, has too few blocks, or is shown something already.
    """
    net = config.net if isinstance(config, DiffusionConfig) else None
    if not isinstance(net, MMDiTConfig) or not isinstance(config, DiffusionConfig):
        fix = "begin from a model that reads: init = '@scenes-t2i'"
        raise RecipeError("control is built for transformers that read texts", where="init", fix=fix)
    if net.control is not None:
        raise RecipeError("this model is shown something already", where="control", fix="leave [control] out to go on")
    if control.num_layers >= net.num_layers:
        what, fix = "the copy needs fewer blocks than the net", f"set it to {net.num_layers - 1} or less"
        raise RecipeError(what, where="control.num_layers", value=control.num_layers, fix=fix)
    return config.model_copy(update={"net": net.model_copy(update={"control": control})})


def controlled(model: Model[Any], control: ControlConfig) -> Model[Any]:
    """A model whose net is frozen, beside a copy of its first blocks that learns to be shown something.

    Before it learns, it says what the model says.

    Raises:
        RecipeError: As `showing`.
    """
    config = showing(model.config, control)
    assert isinstance(config.net, MMDiTConfig), "asked above"
    assert isinstance(model.net, MMDiT), "as its config says"
    with torch.random.fork_rng(devices=[]):
        net = Controlled(config.net).to(model.device)
    net.transformer.load_state_dict(model.net.state_dict())
    net.control.copy(model.net)
    return replace(model, config=config, net=net)


def edges(images: Images) -> Images:
    """Where brightness changes, by Sobel's rule: 1 for a sharp edge, -1 for none, in as many channels.

    Args:
        images: In -1 to 1; beyond its sides each goes on as it ends.
    """
    gray = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    kernel = torch.stack((SOBEL, SOBEL.T))[:, None].to(images)
    strength = F.conv2d(gray, kernel).square().sum(1, keepdim=True).sqrt() / SHARP
    return (2 * strength.clamp(max=1) - 1).expand_as(images)


def holes(rng: Rng, high: int, wide: int) -> Holes:
    """A rectangle in each row, 1 inside and 0 outside, by the row alone."""
    size, place = rng.uniform("hole size", 2), rng.uniform("hole place", 2)
    side = SMALLEST + (LARGEST - SMALLEST) * size
    begin = place * (1 - side)
    inside: list[Tensor] = []
    for axis, count in enumerate((high, wide)):
        at = ((torch.arange(count, device=rng.rows.device) + 0.5) / count)[None]
        inside.append((at >= begin[:, axis : axis + 1]) & (at < (begin + side)[:, axis : axis + 1]))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None].float()


def around(images: Images, hole: Holes) -> Images:
    """Pictures with a hole in black, to show; see `encoded` for the rest of what `hole` says."""
    return torch.where(hole > 0, -1.0, images)


def encoded(model: Model[Any], pictures: Images, hole: Holes | None = None) -> Seen:
    """A picture to show as the net is shown it: as it is, or as latents; behind it where no hole is.

    Args:
        model: With a codec or without.
        pictures: In -1 to 1.
        hole: 1 inside, for a net that is shown it.
    """
    codec = model.parts.get("codec")
    shown = pictures if codec is None else codec.moments(pictures)[0]
    if hole is None:
        return shown
    if codec is not None:
        hole = F.max_pool2d(hole, codec.factor)
    return torch.cat((shown, 1 - hole.to(shown)), 1)


@torch.no_grad()
def control_of(model: Model[Any], images: Images, rng: Rng) -> Seen:
    """What the net is shown of pictures that it learns from, made of these themselves.

    Args:
        model: Whose net is shown something.
        images: Of the batch: pictures, or latents of a model with a codec.
        rng: Of the rows.

    Raises:
        ModelError: The model's codec is none.
    """
    codec, control = model.parts.get("codec"), control_in(model)
    assert control is not None, "the caller asked"
    if codec is not None and not isinstance(codec, LatentCodec):
        raise ModelError("this codec makes no latents", value=type(codec).__name__, fix="give the model an autoencoder")
    pictures = images if codec is None else codec.images(images)
    if control.shows == "edges":
        return encoded(model, edges(pictures))
    hole = holes(rng, *pictures.shape[2:])
    return encoded(model, around(pictures, hole), hole)
