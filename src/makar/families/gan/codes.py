"""The latent space: what pictures are made from, its middle, and directions in it that have names."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.nouns import Model
from makar.core.random import Rng
from makar.families.gan.build import Gan, config_of
from makar.nets.r3gan import Generator
from makar.nets.style import ModulatedConv

DRAWN = 1024
"""Latents, and as many opposite ones, by which the space is known."""

AXES = 8
"""Directions that are found without labels."""

REACH = 2.0
"""Standard deviations that one unit of such a direction goes."""

FLAT = 1e-6
"""A deviation that nothing is divided by less than."""

Code = Float[Tensor, "layers size"]


def latent_of(seed: int, size: int) -> Float[Tensor, " size"]:
    """A picture's latent, from its seed alone."""
    return Rng(seed, 0, torch.zeros(1, dtype=torch.int64)).normal("latent", size)[0]


def drawn_codes(net: Gan, label: int | None, rows: int = DRAWN) -> Float[Tensor, "rows layers size"]:
    """Codes of latents and of the opposite ones, always the same: their mean is the middle of the space."""
    device = net.augment_share.device
    half = Rng(0, 0, torch.arange(rows)).normal("middle", net.generator.latent_size).to(device)
    labels = None if label is None else torch.full((2 * rows,), label, device=device)
    return net.generator.code(torch.cat((half, -half)), labels)


@torch.no_grad()
def middle(model: Model[Gan], label: int | None) -> tuple[Code, Code]:
    """Mean and standard deviation of the codes of a class, or of all classes alike."""
    count = config_of(model).net.num_classes
    labels = [label] if label is not None else list(range(count)) or [None]
    codes = torch.cat([drawn_codes(model.net, each, max(32, DRAWN // len(labels))) for each in labels])
    return codes.mean(0), codes.std(0).clamp(min=FLAT)  # of one class, its own part of a code does not vary


def names_of_classes(model: Model[Gan]) -> tuple[str, ...]:
    """The classes' names, or their numbers."""
    config = config_of(model)
    return config.classes or tuple(str(number) for number in range(config.net.num_classes))


@torch.no_grad()
def directions(model: Model[Gan]) -> Mapping[str, Code]:
    """Directions by name: "axis-1" and so on, along which pictures change most, and the name of each class.

    The axes need no pictures: they are what the first layers that read a code pass on most of. Paper: arXiv 2007.06600,
    eq. 6. A class's direction leads from the middle of all classes to its own.
    """
    generator = model.net.generator
    mean, spread = middle(model, None)
    if isinstance(generator, Generator):
        weight = generator.modulate.weight[:, : generator.latent_size]  # the rest of a code is the class's
    else:
        layers = [layer for layer in generator.modules() if isinstance(layer, ModulatedConv)]
        weight = torch.cat([layer.affine.weight for layer in layers])
    values, vectors = torch.linalg.eigh(weight.float().T @ weight.float())
    found: dict[str, Code] = {}
    for number, place in enumerate(values.argsort(descending=True)[:AXES].tolist(), 1):
        axis = torch.zeros_like(mean)
        vector = vectors[:, place]
        axis[:, : len(vector)] = vector * vector[vector.abs().argmax()].sign()  # an eigenvector has no sign of its own
        found[f"axis-{number}"] = REACH * axis * (axis * spread).norm(dim=1, keepdim=True)
    for label, name in enumerate(names_of_classes(model)):
        found[name] = middle(model, label)[0] - mean
    return found
