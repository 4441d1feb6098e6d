"""How a variational autoencoder makes pictures: from codes drawn, of pictures given, between them and beyond."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from makar.codecs.pixels import to_picture
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Chunk, Model, Request, State
from makar.core.random import Rng
from makar.families.pictures import between, edits_of, fitting, label_of, parts_of, towards_of
from makar.families.settings import settings_of
from makar.families.vae.found import directions_of
from makar.families.vae.likelihood import middle, shown
from makar.families.vae.net import Vae, config_of
from makar.families.vae.settings import VaeSettings

Code = Float[Tensor, " code"]


class VaeSampler:
    """Implements `core.nouns.Sampler`.

    A prompt is None for a picture that was never there, or a table: "image" is given back, varied by the setting
    `variation`; "towards" is another one, or its seed, and how far to go to it, 0 to 1; "edit" is "+NAME" or a list of
    such. A chunk's `data` is a picture of Pillow.
    """

    def start(self, model: Model[Vae], requests: Sequence[Request]) -> State:
        """Find each row's code.

        Raises:
            UserError: A prompt that the model does not understand, or a picture of another size.
        """
        wishes = [understood(model, request.prompt) for request in requests]
        settings = [settings_of(model, request, VaeSettings) for request in requests]
        known = codes_of_pictures(model, wishes)
        rows = zip(requests, wishes, settings, known, strict=True)
        return {"code": torch.stack([code_of(model, *row) for row in rows])}

    def step(self, model: Model[Vae], state: State) -> tuple[State, list[Chunk]]:
        """The picture of each code.

        Raises:
            ModelError: The net's numbers are not finite.
        """
        images = middle(config_of(model), model.net.decode(state["code"]))
        if not bool(images.isfinite().all()):
            raise ModelError("the model's pictures are not finite", fix="its weights are damaged or training diverged")
        return state, [Chunk(row, to_picture(image), done=True, reason="stop") for row, image in enumerate(images)]


def code_of(model: Model[Vae], request: Request, wish: "Wish", settings: VaeSettings, known: Sequence[Code]) -> Code:
    """The code that a request means; all its noise is of the request's seed.

    Args:
        model: Of the family.
        request: For its seed.
        wish: Its prompt.
        settings: How.
        known: The codes of its pictures.
    """
    codes = iter(known)
    code = draw(model, request.seed, settings.temperature) if wish.image is None else next(codes)
    if isinstance(wish.towards, Tensor):
        code = between(code, next(codes), wish.share)
    elif wish.towards is not None:
        code = between(code, draw(model, wish.towards, settings.temperature), wish.share)
    if wish.image is not None and settings.variation:
        drawn = draw(model, request.seed, settings.temperature)
        code = (1 - settings.variation**2) ** 0.5 * code + settings.variation * drawn
    for name, strength in wish.edits:
        code = code + strength * directions_of(model)[name].to(code.device)
    return code


def draw(model: Model[Vae], seed: int, temperature: float) -> Code:
    """A code from the prior."""
    rng = Rng(seed, 0, torch.zeros(1, dtype=torch.int64))
    noise = temperature * rng.normal("code", model.net.code_size)
    return model.net.draw(noise.to(model.device), rng.uniform("component").to(model.device))[0]


def codes_of_pictures(model: Model[Vae], wishes: Sequence["Wish"]) -> list[list[Code]]:
    """The codes of each row's pictures, all found together."""
    given = [[part for part in (wish.image, wish.towards) if isinstance(part, Tensor)] for wish in wishes]
    counts, pictures = [len(row) for row in given], [picture for row in given for picture in row]
    if not pictures:
        return [[] for _ in wishes]
    codes = model.net.code_of(shown(config_of(model), torch.stack(pictures).to(model.device)))
    return [list(part) for part in codes.split(counts)]


@dataclass(frozen=True)
class Wish:
    """A prompt, understood.

    Args:
        image: A picture to begin from.
        towards: A picture to go to, or the seed of one.
        share: How far to go.
        edits: Names of directions, with strengths.
    """

    image: Tensor | None = None
    towards: Tensor | int | None = None
    share: float = 0.0
    edits: Sequence[tuple[str, float]] = ()


def understood(model: Model[Vae], prompt: Any) -> Wish:
    """A prompt's pictures and edits.

    Raises:
        InputError: It holds what the model does not know, or pictures of another size.
    """
    net, known = config_of(model).net, tuple(directions_of(model))
    given = parts_of(prompt, ("label", "image", "towards", "edit"))
    label_of(given.get("label"), 0, (), None)
    image, towards, share = None, None, 0.0
    if "image" in given:
        image = fitting(given["image"], net.in_channels, net.sample_size)
    if "towards" in given:
        other, share = towards_of(given["towards"], "a picture")
        towards = other if isinstance(other, int) else fitting(other, net.in_channels, net.sample_size)
    if "edit" in given and not known:
        what, fix = "this model knows no directions", "train it on pictures of several classes"
        raise InputError(what, where="edit", value=given["edit"], fix=fix)
    return Wish(image, towards, share, edits_of(given.get("edit", ()), known))


SAMPLER = VaeSampler()
