"""How a diffusion model makes pictures: the engine's rows, each on its own way from its own noise.

A row's whole story is in the state's tensors, so rows with other samplers, steps and labels share a batch, join and
leave. All of a row's noise comes from its request's seed, whatever stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from makar.codecs.pixels import to_picture, to_values
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Chunk, LatentCodec, Model, Request, State
from makar.core.random import Rng, key_of
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.denoise import (
    Guidance,
    Net,
    config_of,
    guided,
    kept_outside,
    like_small,
    null_label,
    seamless,
    within_range,
)
from makar.families.diffusion.path import levels_of
from makar.families.diffusion.samplers import SAMPLERS, Trail, advance, begin
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.pictures import fitting, label_of, parts_of
from makar.families.settings import settings_of

CODES = tuple(SAMPLERS)
"""A row's sampler is in its state as a number."""

TRAIL = ("x", "levels", "at", "past", "before")


@dataclass(frozen=True)
class Wish:
    """A prompt, understood.

    Args:
        label: What the net is told; 0 where it knows none.
        named: Whether the prompt named a class.
        image: A picture to begin from.
        mask: Where to make it anew: 1, and 0 where it stays.
        small: What the picture is when it is made small, each of its pixels as large as its cell.
        factor: Side of a cell.
    """

    label: int
    named: bool
    image: Float[Tensor, "channels high wide"] | None = None
    mask: Float[Tensor, "1 high wide"] | None = None
    small: Float[Tensor, "channels high wide"] | None = None
    factor: int = 1


class DiffusionSampler:
    """Implements `core.nouns.Sampler`.

    A prompt is a class by its number or its name, or None; or a table with any of "label", "image" (a picture to begin
    from), "mask" (white where it is made anew) and "small" (a picture to make large). A chunk's `data` is a picture of
    Pillow: the finished one, or a preview of what the net expects; `info` says the step, and of how many. With a part
    "codec" all happens in its latents, and only what is given and shown are pictures.
    """

    def start(self, model: Model[Net], requests: Sequence[Request]) -> State:
        """Give each row its noise.

        Raises:
            UserError: A class that the net does not know, a picture of another size, guidance without labels.
        """
        config, device = config_of(model), model.device
        settings = [settings_of(model, request, DiffusionSettings) for request in requests]
        wishes = [understood(model, request.prompt) for request in requests]
        levels = [ways(config, each, wish) for each, wish in zip(settings, wishes, strict=True)]
        shape = (config.net.in_channels, config.net.sample_size, config.net.sample_size)
        begun = [
            (0 if wish.image is None else wish.image) + way[0] * noise_of(request.seed, 0, shape)
            for request, wish, way in zip(requests, wishes, levels, strict=True)
        ]
        trail = begin(torch.stack(begun), pad_sequence(levels, batch_first=True))
        scales = [guidance_scale(model, each, wish) for each, wish in zip(settings, wishes, strict=True)]
        lows, highs = zip(*(each.guidance_interval for each in settings), strict=True)
        state = {
            **{name: getattr(trail, name) for name in TRAIL},
            "sampler": torch.tensor([CODES.index(each.sampler) for each in settings]),
            "stream": torch.tensor([key_of(request.seed, "steps") >> 1 for request in requests]),
            "label": torch.tensor([wish.label for wish in wishes]),
            "known": torch.stack([torch.zeros(shape) if wish.image is None else wish.image for wish in wishes]),
            "mask": torch.stack([torch.ones(1, *shape[1:]) if wish.mask is None else wish.mask for wish in wishes]),
            "small": torch.stack([torch.zeros(shape) if wish.small is None else wish.small for wish in wishes]),
            "factor": torch.tensor([wish.factor for wish in wishes]),
            "tile": torch.tensor([each.tile for each in settings]),
            "scale": torch.tensor(scales),
            "low": torch.tensor(lows),
            "high": torch.tensor(highs),
            "rescale": torch.tensor([each.guidance_rescale for each in settings]),
            "previews": torch.tensor([each.previews for each in settings]),
        }
        return {name: leaf.to(device) for name, leaf in state.items()}

    def step(self, model: Model[Net], state: State) -> tuple[State, list[Chunk]]:
        """One step of each row's own sampler."""
        codes = state["sampler"].tolist()
        if len(set(codes)) == 1:
            moved, said = stepped(model, state, CODES[codes[0]])
        else:
            moved, said = {name: leaf.clone() for name, leaf in state.items()}, torch.zeros_like(state["x"])
            for code in sorted(set(codes)):
                rows = (state["sampler"] == code).nonzero().squeeze(1)
                part, said[rows] = stepped(model, {name: leaf[rows] for name, leaf in state.items()}, CODES[code])
                for name, leaf in part.items():
                    moved[name][rows] = leaf
        return moved, told(model, moved, said)


def stepped(model: Model[Net], state: State, name: str) -> tuple[State, Tensor]:
    """One step of rows with the same sampler, and what the denoiser said.

    Raises:
        ModelError: The net's numbers are not finite.
    """
    labels = state["label"] if config_of(model).net.num_classes else None
    guidance = Guidance(*(state[part] for part in ("scale", "low", "high", "rescale")))
    denoise = guided(model, labels, guidance)
    if codec_of(model) is None:
        denoise = within_range(denoise)
    if bool(state["tile"].any()):
        denoise = seamless(denoise, shifts(state))
    if bool((state["factor"] > 1).any()):
        denoise = like_small(denoise, state["small"], state["factor"])
    if not bool(state["mask"].all()):
        denoise = kept_outside(denoise, state["known"], state["mask"])
    trail = Trail(**{part: state[part] for part in TRAIL})
    trail, said = advance(SAMPLERS[name], trail, denoise, partial(fresh, state))
    if not bool(trail.x.isfinite().all()):
        raise ModelError("the model's pictures are not finite", fix="its weights are damaged or its training diverged")
    return state | {part: getattr(trail, part) for part in TRAIL}, said


def told(model: Model[Net], state: State, said: Tensor) -> list[Chunk]:
    """What to show of each row: the picture at its end, a preview where asked for, or how far it is."""
    totals, at = (state["levels"] > 0).sum(1), state["at"]
    ended = at == totals
    shown = ended | ((state["previews"] > 0) & (at % state["previews"].clamp(min=1) == 0))
    seen = torch.where(ended[:, None, None, None], state["x"], said)[shown]
    pictures = iter(pictures_of(model, seen))
    chunks: list[Chunk] = []
    for row, (step, total, show) in enumerate(zip(at.tolist(), totals.tolist(), shown.tolist(), strict=True)):
        info, done = {"step": step, "steps": total}, step == total
        picture = next(pictures) if show else None
        chunks.append(Chunk(row, picture, done=done, reason="stop" if done else None, info=info))
    return chunks


def codec_of(model: Model[Net]) -> LatentCodec | None:
    """What makes pictures of that which the net learned, where that is no pictures.

    Raises:
        ModelError: The part is none that the net could have learned from.
    """
    codec = model.parts.get("codec")
    if codec is None or isinstance(codec, LatentCodec):
        return codec
    raise ModelError("this codec makes no latents", value=type(codec).__name__, fix="give the model an autoencoder")


def pictures_of(model: Model[Net], x: Tensor) -> list[Any]:
    """Pictures of Pillow, of what the net works on."""
    codec = codec_of(model)
    images = x if codec is None or not len(x) else codec.images(x)
    return [to_picture(image) for image in images]


def noise_of(seed: int, step: int, shape: tuple[int, ...]) -> Tensor:
    """A row's noise at a step, from its seed alone."""
    return Rng(seed, step, torch.zeros(1, dtype=torch.int64)).normal("picture", *shape)[0]


def fresh(state: State) -> Tensor:
    """New noise for every row."""
    shape = tuple(state["x"].shape[1:])
    streams, at = state["stream"].tolist(), state["at"].tolist()
    drawn = [noise_of(stream, 1 + step, shape) for stream, step in zip(streams, at, strict=True)]
    return torch.stack(drawn).to(state["x"].device)


def shifts(state: State) -> Tensor:
    """How far each row that shall have no edge is moved on at this step."""
    side, streams, at = state["x"].shape[2], state["stream"].tolist(), state["at"].tolist()
    rows = [Rng(stream, 1 + step, torch.zeros(1, dtype=torch.int64)) for stream, step in zip(streams, at, strict=True)]
    return torch.cat([row.integers("shift", side, 2) for row in rows]) * state["tile"].cpu()[:, None]


def ways(config: DiffusionConfig, settings: DiffusionSettings, wish: Wish) -> Float[Tensor, " levels"]:
    """The noise levels of a row: from the first, or where it begins from a picture, from as far back as asked."""
    levels = levels_of(config.path, settings.steps, settings.spacing)
    if wish.image is None:
        return levels
    return levels[settings.steps - max(1, round(settings.strength * settings.steps)) :]


def guidance_scale(model: Model[Net], settings: DiffusionSettings, wish: Wish) -> float:
    """How much a row is guided.

    Raises:
        InputError: The model cannot be guided.
    """
    if settings.guidance_scale == 1 or "guide" in model.parts:
        return settings.guidance_scale
    if null_label(config_of(model)) is None:
        raise InputError(
            "this model cannot be guided: it was not trained to go without a class",
            where="guidance_scale",
            value=settings.guidance_scale,
            fix="set it to 1, or give the model a part 'guide'",
        )
    return settings.guidance_scale if wish.named else 1.0


def understood(model: Model[Net], prompt: Any) -> Wish:
    """A prompt's class and pictures; of a model of latents, the pictures' latents.

    Raises:
        InputError: It holds what the model does not know, or pictures of another size.
    """
    config, codec = config_of(model), codec_of(model)
    net, given = config.net, parts_of(prompt, ("label", "image", "mask", "small"))
    channels, factor = (net.in_channels, 1) if codec is None else (codec.channels, codec.factor)
    label, side = given.get("label"), net.sample_size * factor
    wish = Wish(label_of(label, net.num_classes, config.classes, null_label(config)), label not in (None, ""))
    if "image" in given:
        image = fitting(given["image"], channels, side)
        wish = replace(wish, image=image if codec is None else codec.moments(image[None])[0][0].cpu())
    if "mask" in given:
        if wish.image is None:
            raise InputError("a mask without its picture", fix='give "image" too')
        mask = (fitting(given["mask"], 1, side, "mask") > 0).float()
        wish = replace(wish, mask=F.max_pool2d(mask, factor))  # a place is made anew where any of its pixels is
    if "small" in given:
        if codec is not None:
            raise InputError("a model of latents makes no small picture large", fix="take a model of pixels")
        small = to_values(given["small"], channels)
        cell = side // max(1, small.shape[1])
        if small.shape[1] != small.shape[2] or cell < 2 or cell * small.shape[1] != side:
            size, fix = f"{small.shape[2]}x{small.shape[1]}", f"make it a square whose side divides {side}"
            raise InputError("the small picture does not fit into the model's", value=size, fix=fix)
        wish = replace(wish, small=small.repeat_interleave(cell, 1).repeat_interleave(cell, 2), factor=cell)
    return wish


SAMPLER = DiffusionSampler()
