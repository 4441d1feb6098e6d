"""How a diffusion model makes pictures: the engine's rows, each on its own way from its own noise.

A row's whole story is in the state's tensors, so rows with other samplers, steps and labels share a batch, join and
leave. All of a row's noise comes from its request's seed, whatever stands beside it.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from makar.codecs.pixels import to_picture
from makar.core.errors import ModelError
from makar.core.nouns import Chunk, Model, Request, State
from makar.core.random import Rng, key_of
from makar.families.diffusion.caption import Caption, reads
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.control import Shown, control_in
from makar.families.diffusion.denoise import (
    Guidance,
    Net,
    Told,
    config_of,
    guided,
    kept_outside,
    like_small,
    seamless,
    within_range,
)
from makar.families.diffusion.path import visited
from makar.families.diffusion.samplers import SAMPLERS, Trail, advance, begin
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.diffusion.wish import Wish, codec_of, guidance_scale, places_of, understood
from makar.families.diffusion.words import captions_of
from makar.families.settings import settings_of
from makar.nets.mmdit_config import MMDiTConfig

CODES = tuple(SAMPLERS)
"""A row's sampler is in its state as a number."""

TRAIL = ("x", "levels", "at", "past", "before")

DRAWN = ("x", "past", "before", "known", "mask", "small", "control")
"""Leaves whose last two dimensions are a picture's: a row with a smaller picture has zeros behind it."""


class DiffusionSampler:
    """Implements `core.nouns.Sampler`.

    A prompt is a class by its number or its name, or a text for a net that reads, or None; or a table with any of
    "label" (that, also called "text"), "negative" (a text to go away from), "image" (a picture to begin from), "mask"
    (white where it is made anew), "small" (a picture to make large) and "control" (what a net that is shown something
    shall be shown). A chunk's `data` is a picture of Pillow: the
    finished one, or a preview of what the net expects; `info` says the step, and of how many. With a part "codec" all
    happens in its latents, and only what is given and shown are pictures. Rows of several sizes may stand together:
    those of one size take their steps together.
    """

    def start(self, model: Model[Net], requests: Sequence[Request]) -> State:
        """Give each row its noise.

        Raises:
            UserError: A class or a text that the net does not know, a size that it cannot make, a picture of another
                size, guidance without class or text.
        """
        config, device = config_of(model), model.device
        settings = [settings_of(model, request, DiffusionSettings) for request in requests]
        wishes = [understood(model, *asked) for asked in zip(requests, settings, strict=True)]
        levels = [ways(config, each, wish) for each, wish in zip(settings, wishes, strict=True)]
        sizes = [places_of(model, each) for each in settings]
        shapes = [(config.net.in_channels, *size) for size in sizes]
        begun = [
            (0 if wish.image is None else wish.image) + way[0] * noise_of(request.seed, 0, shape)
            for request, wish, way, shape in zip(requests, wishes, levels, shapes, strict=True)
        ]
        trail = begin(side_by_side(begun), pad_sequence(levels, batch_first=True))
        scales = [guidance_scale(model, each, wish) for each, wish in zip(settings, wishes, strict=True)]
        lows, highs = zip(*(each.guidance_interval for each in settings), strict=True)
        none, known = [torch.zeros(shape) for shape in shapes], [wish.image for wish in wishes]
        masks = [
            torch.ones(1, *size) if wish.mask is None else wish.mask for wish, size in zip(wishes, sizes, strict=True)
        ]
        state = {
            **{name: getattr(trail, name) for name in TRAIL},
            "sampler": torch.tensor([CODES.index(each.sampler) for each in settings]),
            "stream": torch.tensor([key_of(request.seed, "steps") >> 1 for request in requests]),
            "size": torch.tensor(sizes),
            "label": torch.tensor([wish.label for wish in wishes]),
            "known": side_by_side(known, none),
            "mask": side_by_side(masks),
            "small": side_by_side([wish.small for wish in wishes], none),
            "factor": torch.tensor([wish.factor for wish in wishes]),
            "tile": torch.tensor([each.tile for each in settings]),
            "scale": torch.tensor(scales),
            "low": torch.tensor(lows),
            "high": torch.tensor(highs),
            "rescale": torch.tensor([each.guidance_rescale for each in settings]),
            "previews": torch.tensor([each.previews for each in settings]),
            **read(model, wishes),
            **looked(model, wishes, settings, sizes),
        }
        return {name: leaf.to(device) for name, leaf in state.items()}

    def step(self, model: Model[Net], state: State) -> tuple[State, list[Chunk]]:
        """One step of each row's own sampler."""
        groups = list(alike(torch.cat((state["size"], state["sampler"][:, None]), 1)))
        if len(groups) == 1:
            (high, wide, code), _ = groups[0]
            moved, said = stepped(model, cut(state, high, wide), CODES[code])
            return moved, shown(model, moved, said)
        moved, said = {name: leaf.clone() for name, leaf in state.items()}, torch.zeros_like(state["x"])
        for (high, wide, code), rows in groups:
            part = cut({name: leaf[rows] for name, leaf in state.items()}, high, wide)
            part, said[..., :high, :wide][rows] = stepped(model, part, CODES[code])
            for name, leaf in cut(moved, high, wide).items():
                leaf[rows] = part[name]
        return moved, shown(model, moved, said)


def side_by_side(pictures: Sequence[Tensor | None], instead: Sequence[Tensor] = ()) -> Tensor:
    """Pictures as rows, as large as the largest: zeros stand behind a smaller one.

    Args:
        pictures: Of any sizes.
        instead: What stands for one that is not there.
    """
    found = [picture if picture is not None else instead[row] for row, picture in enumerate(pictures)]
    high, wide = (max(picture.shape[side] for picture in found) for side in (1, 2))
    return torch.stack([F.pad(each, (0, wide - each.shape[2], 0, high - each.shape[1])) for each in found])


def alike(keys: Int[Tensor, "rows parts"]) -> Iterator[tuple[list[int], Tensor]]:
    """Each key, the least first, and the rows that have it."""
    for key in sorted({tuple(row) for row in keys.tolist()}):
        yield list(key), (keys == keys.new_tensor(key)).all(1).nonzero().squeeze(1)


def cut(state: State, high: int, wide: int) -> State:
    """The state of rows of one size, without what stands behind their pictures; the very memory of the state."""
    return {name: leaf[..., :high, :wide] if name in DRAWN else leaf for name, leaf in state.items()}


def stepped(model: Model[Net], state: State, name: str) -> tuple[State, Tensor]:
    """One step of rows with the same sampler, and what the denoiser said.

    Raises:
        ModelError: The net's numbers are not finite.
    """
    told, instead = told_in(model, state)
    guidance = Guidance(*(state[part] for part in ("scale", "low", "high", "rescale")))
    denoise = guided(model, told, guidance, instead)
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


def read(model: Model[Net], wishes: Sequence[Wish]) -> State:
    """The leaves of a state that hold texts, where the net reads."""
    if not reads(model):
        return {}
    told = captions_of(model, [wish.text for wish in wishes])
    instead = captions_of(model, [wish.negative for wish in wishes])
    leaves = ("tokens", "pooled", "other_tokens", "other_pooled")
    return dict(zip(leaves, (*told, *instead), strict=True))


def looked(
    model: Model[Net],
    wishes: Sequence[Wish],
    settings: Sequence[DiffusionSettings],
    sizes: Sequence[tuple[int, int]],
) -> State:
    """The leaves of a state that hold what is shown, where the net is shown something."""
    net = config_of(model).net
    if control_in(model) is None or not isinstance(net, MMDiTConfig):
        return {}
    nothing = [torch.zeros(net.control_channels, *size) for size in sizes]
    pairs = zip(wishes, settings, strict=True)
    scales = [0.0 if wish.control is None else each.control_scale for wish, each in pairs]
    return {"control": side_by_side([wish.control for wish in wishes], nothing), "shown": torch.tensor(scales)}


def told_in(model: Model[Net], state: State) -> tuple[Told, Told]:
    """What the net is told of each row, and what guidance goes away from where that is said."""
    if reads(model):
        told = Caption(state["tokens"], state["pooled"]), Caption(state["other_tokens"], state["other_pooled"])
        if "control" not in state:
            return told
        return Shown(told[0], state["control"], state["shown"]), Shown(told[1], state["control"], state["shown"])
    return state["label"] if config_of(model).net.num_classes else None, None


def shown(model: Model[Net], state: State, said: Tensor) -> list[Chunk]:
    """What to show of each row: the picture at its end, a preview where asked for, or how far it is."""
    totals, at = (state["levels"] > 0).sum(1), state["at"]
    ended = at == totals
    due = ended | ((state["previews"] > 0) & (at % state["previews"].clamp(min=1) == 0))
    seen = torch.where(ended[:, None, None, None], state["x"], said)[due]
    pictures: dict[int, Any] = {}
    for (high, wide), rows in alike(state["size"][due]):
        pictures |= zip(rows.tolist(), pictures_of(model, seen[rows, :, :high, :wide]), strict=True)
    made = iter(pictures[row] for row in range(len(seen)))
    chunks: list[Chunk] = []
    for row, (step, total, show) in enumerate(zip(at.tolist(), totals.tolist(), due.tolist(), strict=True)):
        info, done = {"step": step, "steps": total}, step == total
        picture = next(made) if show else None
        chunks.append(Chunk(row, picture, done=done, reason="stop" if done else None, info=info))
    return chunks


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
    side, streams, at = max(state["x"].shape[2:]), state["stream"].tolist(), state["at"].tolist()
    rows = [Rng(stream, 1 + step, torch.zeros(1, dtype=torch.int64)) for stream, step in zip(streams, at, strict=True)]
    return torch.cat([row.integers("shift", side, 2) for row in rows]) * state["tile"].cpu()[:, None]


def ways(config: DiffusionConfig, settings: DiffusionSettings, wish: Wish) -> Float[Tensor, " levels"]:
    """The noise levels of a row: from the first, or where it begins from a picture, from as far back as asked."""
    levels = visited(config.path, settings.sampler, settings.steps, settings.spacing)
    if wish.image is None:
        return levels
    return levels[settings.steps - max(1, round(settings.strength * settings.steps)) :]


SAMPLER = DiffusionSampler()
