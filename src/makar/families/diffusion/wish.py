"""What a prompt asks of a diffusion model: a class or a text, and pictures to begin from."""

from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.codecs.pixels import to_values
from makar.core.errors import InputError, ModelError
from makar.core.nouns import LatentCodec, Model, Request
from makar.families.diffusion.caption import reads
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.control import around, control_in, encoded
from makar.families.diffusion.denoise import Net, config_of, null_label
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.pictures import label_of, parts_of
from makar.nets.mmdit_config import MMDiTConfig

PARTS = ("label", "text", "negative", "image", "mask", "small", "control")
"""Of a prompt."""

ALIKE = ("in_channels", "num_classes", "null_class", "joint_attention_dim", "pooled_projection_dim", "control_channels")
"""What a model's guide has as the model has it: both are told the same of the same noise."""


@dataclass(frozen=True)
class Wish:
    """A prompt, understood.

    Args:
        label: What the net is told; 0 where it knows none.
        named: Whether the prompt named a class, or said a text.
        text: What a net that reads is told; None for nothing.
        negative: What guidance goes away from; None for no text at all.
        image: A picture to begin from.
        mask: Where to make it anew: 1, and 0 where it stays.
        small: What the picture is when it is made small, each of its pixels as large as its cell.
        factor: Side of a cell.
        control: What the net is shown, as it takes it; None for nothing.
    """

    label: int
    named: bool
    text: str | None = None
    negative: str | None = None
    image: Float[Tensor, "channels high wide"] | None = None
    mask: Float[Tensor, "1 high wide"] | None = None
    small: Float[Tensor, "channels high wide"] | None = None
    factor: int = 1
    control: Float[Tensor, "shown high wide"] | None = None


def codec_of(model: Model[Net]) -> LatentCodec | None:
    """What makes pictures of that which the net learned, where that is no pictures.

    Raises:
        ModelError: The part is none that the net could have learned from.
    """
    codec = model.parts.get("codec")
    if codec is None or isinstance(codec, LatentCodec):
        return codec
    raise ModelError("this codec makes no latents", value=type(codec).__name__, fix="give it an autoencoder or a VAE")


def guide_of(model: Model[Net]) -> Model[Net] | None:
    """The lesser model that guides, where there is one.

    Raises:
        ModelError: It is told or says something else than the model.
    """
    guide = model.parts.get("guide")
    if guide is None:
        return None
    fix = "guide by a model that learned the same pictures: fewer steps, or a smaller net"
    if not isinstance(guide, Model) or not isinstance(guide.config, DiffusionConfig):
        raise ModelError("only a diffusion model guides one", where="parts.guide", fix=fix)
    own, other = config_of(model).net, guide.config.net
    for name in ALIKE:
        if getattr(other, name, None) != getattr(own, name, None):
            value = getattr(other, name, None)
            raise ModelError(
                f"the guide differs from the model by its {name}", where="parts.guide", value=value, fix=fix
            )
    return guide


def places_of(model: Model[Net], settings: DiffusionSettings) -> tuple[int, int]:
    """Height and width of what the net works on, for a picture of the size that is asked for.

    Raises:
        InputError: The net makes squares alone, or has no positions for it.
    """
    net, codec = config_of(model).net, codec_of(model)
    factor = 1 if codec is None else codec.factor
    own = net.sample_size * factor
    asked = {"height": settings.height or own, "width": settings.width or own}
    if set(asked.values()) == {own}:
        return net.sample_size, net.sample_size
    if not isinstance(net, MMDiTConfig):
        value, fix = "{width}x{height}".format_map(asked), f"leave height and width out: its pictures are {own}x{own}"
        raise InputError("only a model that reads makes pictures of other shapes", value=value, fix=fix)
    step = net.patch_size * factor
    most = net.pos_embed_max_size * step
    for name, side in asked.items():
        near = min(max(step, (2 * side + step) // (2 * step) * step), most)
        if side > most:
            raise InputError("the net has no positions for this side", where=name, value=side, fix=f"set it to {most}")
        if side % step:
            what, fix = f"a side is a whole number of patches of {step} pixels", f"set it to {near}"
            raise InputError(what, where=name, value=side, fix=fix)
    return asked["height"] // factor, asked["width"] // factor


def guidance_scale(model: Model[Net], settings: DiffusionSettings, wish: Wish) -> float:
    """How much a row is guided.

    Raises:
        InputError: The model cannot be guided, or not as the prompt asks.
    """
    scale, led = settings.guidance_scale, guide_of(model) is not None
    if wish.negative is not None and (scale == 1 or led):
        fix = "take the part 'guide' out" if led else "set guidance_scale above 1"
        raise InputError("a negative text says what guidance goes away from", value=wish.negative, fix=fix)
    if scale == 1 or led:
        return scale
    if not reads(model) and null_label(config_of(model)) is None:
        raise InputError(
            "this model cannot be guided: it was not trained to go without a class",
            where="guidance_scale",
            value=scale,
            fix="set it to 1, or give the model a part 'guide'",
        )
    return scale if wish.named else 1.0


def understood(model: Model[Net], request: Request, settings: DiffusionSettings) -> Wish:
    """A prompt's class or text, and its pictures; of a model of latents, the pictures' latents.

    Raises:
        InputError: It holds what the model does not know, or pictures of another size.
    """
    config, codec = config_of(model), codec_of(model)
    net, given = config.net, parts_of(request.prompt, PARTS)
    channels, factor = (net.in_channels, 1) if codec is None else (codec.channels, codec.factor)
    high, wide = (side * factor for side in places_of(model, settings))
    wish = said(model, given.get("label", given.get("text")), given.get("negative", settings.negative))
    image = mask = None
    if "image" in given:
        image = fitted(model, given["image"], channels, (high, wide))
        wish = replace(wish, image=image if codec is None else codec.moments(image[None])[0][0].cpu())
    if "mask" in given:
        if wish.image is None:
            raise InputError("a mask without its picture", fix='give "image" too')
        mask = (fitted(model, given["mask"], 1, (high, wide), "mask") > 0).float()
        wish = replace(wish, mask=F.max_pool2d(mask, factor))  # a place is made anew where any of its pixels is
    picture = None
    if "control" in given:
        picture = fitted(model, given["control"], channels, (high, wide), "control picture")
    wish = replace(wish, control=shown(model, picture, image, mask))
    if "small" in given:
        if codec is not None:
            raise InputError("a model of latents makes no small picture large", fix="take a model of pixels")
        wish = enlarged(wish, to_values(given["small"], channels), (high, wide))
    return wish


def fitted(
    model: Model[Net], picture: Any, channels: int, shape: tuple[int, int], name: str = "picture"
) -> Float[Tensor, "channels high wide"]:
    """A picture or a mask of the size that is asked for, as values in -1 to 1.

    Raises:
        InputError: It is no picture, or one of another size.
    """
    values = to_values(picture, channels)
    high, wide = values.shape[1:]
    if (high, wide) != shape:
        fix = f"make it {shape[1]}x{shape[0]}" + (f", or set height={high} and width={wide}" if reads(model) else "")
        raise InputError(f"the {name} has another size than the model's", value=f"{wide}x{high}", fix=fix)
    return values


def shown(model: Model[Net], picture: Tensor | None, image: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """What a net that is shown something is shown: edges that the prompt gives, or what is known around its mask.

    Raises:
        InputError: The prompt shows what the net is not shown.
    """
    control = control_in(model)
    if picture is not None and (control is None or control.shows == "mask"):
        fix = 'give "image" and "mask"' if control else "leave it out, or train the model with [control]"
        raise InputError("this model is shown no such picture", where="control", fix=fix)
    if control is None or (control.shows == "mask" and (image is None or mask is None)):
        return None
    if control.shows == "edges":
        return None if picture is None else encoded(model, picture[None].to(model.device))[0].cpu()
    assert image is not None, "asked above"
    assert mask is not None, "asked above"
    hole = mask[None].to(model.device)
    return encoded(model, around(image[None].to(model.device), hole), hole)[0].cpu()


def said(model: Model[Net], asked: Any, negative: Any) -> Wish:
    """What a prompt says in words.

    Raises:
        InputError: A class that the model does not know, a text that is none, or a text for a model that reads none.
    """
    config = config_of(model)
    if not reads(model):
        if negative:
            raise InputError("this model reads no texts", where="negative", value=negative, fix="leave it out")
        return Wish(
            label_of(asked, config.net.num_classes, config.classes, null_label(config)), asked not in (None, "")
        )
    for text in (asked, negative):
        if text is not None and not isinstance(text, str):
            raise InputError("this model is told texts", value=text, fix="say what the picture shows")
    if asked is not None and not asked.strip():
        raise InputError(
            "an empty caption", value=asked, fix="say what the picture shows, or give none for any picture"
        )
    return Wish(0, asked is not None or bool(negative), text=asked, negative=negative or None)


def enlarged(wish: Wish, small: Tensor, shape: tuple[int, int]) -> Wish:
    """A wish for a picture that is another one made large.

    Raises:
        InputError: The small one's sides do not divide those that are asked for.
    """
    cell = shape[0] // max(1, small.shape[1])
    if cell < 2 or (cell * small.shape[1], cell * small.shape[2]) != shape:  # noqa: PLR2004
        size, fix = f"{small.shape[2]}x{small.shape[1]}", f"make it a square whose side divides {shape[0]}"
        if shape[0] != shape[1]:
            fix = f"make it {shape[1]}x{shape[0]} divided by a whole number"
        raise InputError("the small picture does not fit into the model's", value=size, fix=fix)
    return replace(wish, small=small.repeat_interleave(cell, 1).repeat_interleave(cell, 2), factor=cell)
