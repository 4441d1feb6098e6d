"""How likely a model finds held-out pictures, by whatever its family can say: exactly, as a bound, along its flow."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from makar.core.errors import ModelError
from makar.core.nouns import Model
from makar.core.random import Rng
from makar.engine.run import eval_mode
from makar.evaluate.features import values_of
from makar.evaluate.pictures import PictureMaterial, some
from makar.evaluate.report import Figure, Section

PICTURES = 200
"""Held-out pictures that are scored, if the options do not say."""

TOGETHER = 50
"""Pictures that are scored together."""


@dataclass(frozen=True)
class Scoring:
    """A way to say how likely pictures are.

    Args:
        note: What the numbers are, in a sentence or two.
        nats: From pictures in -1 to 1, labels and the rows' draws to log-probabilities or densities.
        bits: From nats to bits for each value of a picture of 256 levels.
    """

    note: str
    nats: Callable[[Tensor, Tensor | None, Rng], Tensor]
    bits: Callable[[Tensor], Tensor]


def can_score(model: Model[Any]) -> bool:
    """Whether a model says how likely a picture is."""
    if model.family.name == "diffusion":
        return "codec" not in model.parts
    return model.family.log_prob is not None and model.family.log_prob.kind != "score"


def scoring_of(model: Model[Any], importance: int) -> Scoring:
    """How a model scores.

    Args:
        model: Of pictures.
        importance: Samples of an importance bound.

    Raises:
        ModelError: It cannot say.
    """
    if not can_score(model):
        what = "it does not say how likely a picture is"
        raise ModelError(what, value=model.family.name, fix="leave the suite 'likelihood' out")
    match model.family.name:
        case "diffusion":
            return along_flow(model)
        case "vae":
            return bound(model, importance)
        case _:
            return plain(model)


def along_flow(model: Model[Any]) -> Scoring:
    """Of a diffusion model on pixels."""
    from makar.families.diffusion.denoise import null_label, untold
    from makar.families.diffusion.likelihood import STEPS, bits_per_dim, likelihood, with_noise

    net: Any = model.config.net  # pyright: ignore[reportAttributeAccessIssue]
    null = null_label(model.config)  # pyright: ignore[reportArgumentType]

    def nats(images: Tensor, labels: Tensor | None, rng: Rng) -> Tensor:
        told = untold(model, len(images))
        if net.num_classes:
            known = torch.full((len(images),), -1) if labels is None else labels
            told = torch.where(known < 0, null or 0, known)
        return likelihood(model, with_noise(images, rng), told, rng)

    given = " given its class" if net.num_classes else ""
    note = (
        f"The density of a picture{given}, with uniform noise of one level added, along the probability-flow ODE "
        f"(arXiv 2011.13456, eq. 39): {STEPS} Runge-Kutta steps, one probe for the trace. On average it is a lower "
        "bound on the likelihood of the levels; the standard error includes the probes."
    )
    return Scoring(note, nats, lambda found: bits_per_dim(found, net.in_channels * net.sample_size**2))


def bound(model: Model[Any], importance: int) -> Scoring:
    """Of a variational autoencoder."""
    from makar.families.vae.likelihood import bits_per_dim

    score = replace(model.family.log_prob, samples=importance)  # pyright: ignore[reportArgumentType, reportCallIssue]
    config: Any = model.config
    note = (
        f"A lower bound with {importance:,} importance samples for each picture (arXiv 1509.00519, eq. 8), under the "
        f"model's likelihood `{config.likelihood}`."
    )
    if config.likelihood == "bernoulli":
        note += f" Pictures are black and white (`{config.binarise}`): compare with nothing else."

    def nats(images: Tensor, labels: Tensor | None, rng: Rng) -> Tensor:  # noqa: ARG001
        return summed(model, score, images, None, rng)

    return Scoring(note, nats, lambda found: bits_per_dim(config, found))


def plain(model: Model[Any]) -> Scoring:
    """Of a family that says log-probabilities of levels."""
    net: Any = model.config.net  # pyright: ignore[reportAttributeAccessIssue]
    values: int = net.in_channels * net.sample_size**2
    score = model.family.log_prob
    assert score is not None
    note = f"The family's log-probability, which is {'a lower bound' if score.kind == 'bound' else 'exact'}."

    def nats(images: Tensor, labels: Tensor | None, rng: Rng) -> Tensor:
        return summed(model, score, images, labels, rng)

    def bits(found: Tensor) -> Tensor:
        return -found / (values * math.log(2))

    return Scoring(note, nats, bits)


def summed(model: Model[Any], score: Any, images: Tensor, labels: Tensor | None, rng: Rng) -> Tensor:
    """The log-probability of whole rows."""
    batch = {"images": images} | ({} if labels is None else {"label": labels})
    with torch.no_grad():
        values, mask = score(model, batch, rng)
    return (values * mask).sum(1)


def picture_likelihood_section(material: PictureMaterial) -> Section:
    """Nats and bits per value of held-out pictures.

    Raises:
        ModelError: The model cannot say.
    """
    scoring = scoring_of(material.model, material.options.importance)
    pictures = some(material.shards(material.options.split), material.options.documents or PICTURES)
    material.say(f"scoring {len(pictures)} held-out pictures")
    found: list[Tensor] = []
    with eval_mode(material.model):
        for rows in torch.arange(len(pictures)).split(TOGETHER):
            labels = None if pictures.labels is None else pictures.labels[rows]
            draws = Rng(material.options.seed, 0, rows)
            found.append(scoring.nats(values_of(pictures.pixels[rows]), labels, draws).double())
    nats = torch.cat(found)
    bits = scoring.bits(nats)
    error = len(nats) ** -0.5
    return Section(
        "Likelihood of held-out pictures",
        f"{scoring.note} Over {len(nats):,} pictures of the split `{material.options.split}`.",
        {
            "bits_per_dim": Figure("bits for each value of a picture; lower is better", {"model": float(bits.mean())}),
            "bits_error": Figure("its standard error, over pictures", {"model": float(bits.std()) * error}),
            "nats": Figure("negative log-likelihood of a picture", {"model": float(-nats.mean())}),
            "nats_error": Figure("its standard error, over pictures", {"model": float(nats.std()) * error}),
            "pictures": Figure("scored", {"model": len(nats)}),
        },
    )
