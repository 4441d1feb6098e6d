"""How a variational autoencoder makes pictures: from codes drawn, of pictures given, between them and beyond."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from makar.codecs.pixels import to_picture
from makar.core.config import parse
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Chunk, Model, Request, State
from makar.core.random import Rng
from makar.families.pictures import fitting, label_of, parts_of
from makar.families.vae.config import VaeConfig
from makar.families.vae.likelihood import middle, shown
from makar.families.vae.net import Vae, config_of
from makar.families.vae.settings import VaeSettings

Code = Float[Tensor, " code"]


class VaeSampler:
    """Implements `core.nouns.Sampler`.

    A prompt is None for a picture that was never there, or a table: "image" is given back, varied by the setting
    `variation`; "to" is another one to go to, as far as `between` says; "edit" are directions such as "+Bag", or
    "-Bag". A chunk's `data` is a picture of Pillow.
    """

    def start(self, model: Model[Vae], requests: Sequence[Request]) -> State:
        """Find each row's code.

        Raises:
            UserError: A prompt that the model does not understand, or a picture of another size.
        """
        codes = [code_of(model, request, settings_of(model, request)) for request in requests]
        return {"code": torch.stack(codes)}

    def step(self, model: Model[Vae], state: State) -> tuple[State, list[Chunk]]:
        """The picture of each code.

        Raises:
            ModelError: The net's numbers are not finite.
        """
        images = middle(config_of(model), model.net.decode(state["code"]))
        if not bool(images.isfinite().all()):
            raise ModelError("the model's pictures are not finite", fix="its weights are damaged or training diverged")
        return state, [Chunk(row, to_picture(image), done=True, reason="stop") for row, image in enumerate(images)]


def code_of(model: Model[Vae], request: Request, settings: VaeSettings) -> Code:
    """The code that a request means; all its noise is of the request's seed."""
    wish = understood(config_of(model), request.prompt)
    drawn = draw(model, request.seed, settings.temperature)
    if wish.image is None:
        code = drawn
    else:
        code = seen(model, wish.image)
        if wish.to is not None:
            code = between(code, seen(model, wish.to), settings.between)
        if settings.variation:
            code = (1 - settings.variation**2) ** 0.5 * code + settings.variation * drawn
    return code


def draw(model: Model[Vae], seed: int, temperature: float) -> Code:
    """A code from the prior."""
    rng = Rng(seed, 0, torch.zeros(1, dtype=torch.int64))
    noise = temperature * rng.normal("code", model.net.code_size)
    return model.net.draw(noise.to(model.device), rng.uniform("component").to(model.device))[0]


def seen(model: Model[Vae], image: Tensor) -> Code:
    """A picture's code."""
    return model.net.code_of(shown(config_of(model), image[None].to(model.device)))[0]


def between(first: Code, second: Code, share: float) -> Code:
    """From one code to another along the arc: on a straight line the codes would be shorter than any that is drawn.

    Paper: arXiv 1609.04468, section 2.1.
    """
    lengths = first.norm() * second.norm()
    angle = ((first @ second) / lengths.clamp(min=1e-12)).clamp(-1, 1).acos()
    if float(angle.sin()) < 1e-4:  # noqa: PLR2004 - alike or opposite: no arc, or many
        return (1 - share) * first + share * second
    return (((1 - share) * angle).sin() * first + (share * angle).sin() * second) / angle.sin()


def settings_of(model: Model[Vae], request: Request) -> VaeSettings:
    """The request's settings, or the model's own defaults."""
    if isinstance(request.settings, VaeSettings):
        return request.settings
    if request.settings is not None:
        raise InputError(
            "these settings belong to another family",
            value=type(request.settings).__name__,
            fix="give a variational autoencoder VaeSettings",
        )
    return parse(VaeSettings, model.generation, "the model's generation defaults")


@dataclass(frozen=True)
class Wish:
    """A prompt, understood.

    Args:
        image: A picture.
        to: Another one.
        edits: Names of directions, with strengths.
    """

    image: Tensor | None = None
    to: Tensor | None = None
    edits: Sequence[tuple[str, float]] = ()


def understood(config: VaeConfig, prompt: Any) -> Wish:
    """A prompt's pictures.

    Raises:
        InputError: It holds what the model does not know, or pictures of another size.
    """
    given, net = parts_of(prompt, ("label", "image", "to", "edit")), config.net
    label_of(given.get("label"), 0, (), None)
    if "to" in given and "image" not in given:
        raise InputError("a picture to go to, and none to go from", fix='give "image" too')
    image, to = (
        fitting(given[name], net.in_channels, net.sample_size) if name in given else None for name in ("image", "to")
    )
    return Wish(image, to)


SAMPLER = VaeSampler()
