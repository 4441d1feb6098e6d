"""Take the noise off: the denoising objective, whatever the path and the net's way to say it."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.config import nearest
from makar.core.errors import InputError, RecipeError
from makar.core.nouns import Batch, Loss, Model
from makar.core.random import Rng
from makar.families.diffusion.caption import Caption, empty, reads, with_captions
from makar.families.diffusion.control import Shown, control_in, control_of
from makar.families.diffusion.denoise import Images, Labels, Net, Rows, Told, config_of, null_label, over, predict
from makar.families.diffusion.path import draw, precondition

WEIGHTINGS = ("native", "velocity", "min_snr")

GAMMA = 5.0
"""The signal-to-noise ratio above which "min_snr" stops to weigh more. Paper: arXiv 2303.09556, section 3.4."""

LEAST = 0.05
"""The noise below which "velocity" weighs no more: a net that says pictures is never right enough for its weight there,
and a rare row would be a spike of the loss. Paper: arXiv 2511.13720 bounds what it divides by at the same 0.05."""


@dataclass(frozen=True)
class Denoise:
    """The squared error of what the net says of a noisy picture, a mean over its values.

    The batch holds `images` [rows, channels, high, wide] in -1 to 1, and `label` [rows] where the net knows classes; a
    label below 0 says that nobody knows the picture's class. For a net that reads it holds `tokens` [rows, length], the
    captions, or what the net is told of them: `told` [rows, length, width] and `pooled` [rows, width]. Where it holds
    `weight` [rows], a row counts so much.

    Args:
        players: The whole net.
        weighting: "native" is the error of what the net itself says, as in its path's paper (for "edm" eq. 8 of
            arXiv 2206.00364); "velocity" weighs as a net that says velocities would, whatever this one says
            (arXiv 2202.00512, section 4), but hardly any noise no more than a little; "min_snr" lets weak noise not
            outweigh the rest (arXiv 2303.09556, eq. 8).
        label_drop: Share of the rows that are shown without their label or caption, for guidance. Paper: arXiv
            2207.12598, alg. 1.

    Raises:
        RecipeError: An unknown weighting, or a share beyond 0 to 1.
    """

    players: tuple[str, ...] = ("",)
    weighting: str = "native"
    label_drop: float = 0.1

    def __post_init__(self) -> None:
        if self.weighting not in WEIGHTINGS:
            place, fix = "objective.options.weighting", nearest(str(self.weighting), WEIGHTINGS)
            raise RecipeError("unknown weighting", where=place, value=self.weighting, fix=fix)
        if not 0 <= self.label_drop <= 1:
            raise RecipeError(
                "a share lies in 0 to 1",
                where="objective.options.label_drop",
                value=self.label_drop,
                fix="0.1 is usual",
            )

    def prepare(self, model: Model[Net], batch: Batch, rng: Rng) -> Batch:
        """The batch, with what the net is told of its captions.

        Raises:
            InputError: It lacks captions or labels, and the net needs them.
        """
        if reads(model):
            batch = captioned(model, batch, self.label_drop if model.net.training else 0.0, rng)
            shown = control_in(model) is not None and "control" not in batch
            return {**batch, "control": control_of(model, batch["images"], rng)} if shown else batch
        if not config_of(model).net.num_classes:
            return batch
        if "label" not in batch:
            raise InputError("the rows have no labels, and the net knows classes", fix="set model.net.num_classes to 0")
        if null_label(config_of(model)) is None and bool((batch["label"] < 0).any()):
            fix = "label every picture, or train a net with model.net.null_class"
            raise InputError("a picture without a label, and the net knows none for it", fix=fix)
        return batch

    def __call__(self, model: Model[Net], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Summed over rows."""
        images = micro["images"]
        sigma = draw(config_of(model).path, rng)
        noise = rng.normal("noise", *images.shape[1:])
        drop = self.label_drop if model.net.training else 0.0
        errors = error(model, images, noise, sigma, told_of(model, micro, drop, rng))
        losses = errors * weight(model, sigma, self.weighting)
        counts = micro.get("weight", torch.ones_like(losses))
        return Loss((counts * losses).sum(), counts.sum())


def error(model: Model[Net], images: Images, noise: Images, sigma: Rows, told: Told) -> Rows:
    """The mean squared error of what the net says, against what would make the denoiser right."""
    config = config_of(model)
    x = images + over(sigma) * noise
    skip, out = precondition(config.path, config.prediction, sigma)
    wanted = (images - over(skip) * x) / over(out)
    return (predict(model, x, sigma, told) - wanted).square().flatten(1).mean(1)


def weight(model: Model[Net], sigma: Rows, weighting: str) -> Rows:
    """What an error is multiplied with: the wanted weight of the picture's error, times what it is of the net's."""
    if weighting == "native":
        return torch.ones_like(sigma)
    _, out = precondition(config_of(model).path, config_of(model).prediction, sigma)
    snr = sigma**-2
    return out**2 * (1 + snr.clamp(max=LEAST**-2) if weighting == "velocity" else snr.clamp(max=GAMMA))


def shown_labels(model: Model[Net], batch: Batch, drop: float, rng: Rng) -> Labels | None:
    """The labels that the net is told, a share of them taken away."""
    config = config_of(model)
    if not config.net.num_classes:
        return None
    labels, null = batch["label"], null_label(config)
    if null is None:
        return labels
    hidden = labels < 0
    if drop:
        hidden = hidden | (rng.uniform("drop") < drop)
    return torch.where(hidden, null, labels)


def captioned(model: Model[Net], batch: Batch, drop: float, rng: Rng) -> Batch:
    """Rows with what the net is told of their captions; a share is told nothing. What is told already stays.

    Raises:
        InputError: There are no captions.
    """
    if "told" in batch:
        return batch
    if not {"tokens", "text_tokens"} & batch.keys():
        raise InputError("the rows have no captions, and the net reads them", fix='set data.rows = "captioned"')
    batch = with_captions(model, batch)
    if not drop:
        return batch
    nothing, hidden = empty(model), rng.uniform("drop") < drop
    told = torch.where(hidden[:, None, None], nothing.tokens, batch["told"])
    return {**batch, "told": told, "pooled": torch.where(hidden[:, None], nothing.pooled, batch["pooled"])}


def told_of(model: Model[Net], batch: Batch, drop: float, rng: Rng) -> Told:
    """What the net is told of rows: their captions, or their labels, a share of which is taken away."""
    if not reads(model):
        return shown_labels(model, batch, drop, rng)
    found = with_captions(model, batch)
    caption = Caption(found["told"], found["pooled"])
    return Shown(caption, batch["control"], torch.ones_like(caption.pooled[:, 0])) if "control" in batch else caption


@dataclass(frozen=True)
class DenoisingScore:
    """Minus the net's error at fixed noise levels: it orders rows, and is no probability.

    Args:
        kind: A score.
        levels: Noise over signal.
    """

    kind: Literal["score"] = "score"
    levels: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)

    def __call__(self, model: Model[Net], batch: Batch, rng: Rng) -> tuple[Float[Tensor, "rows levels"], Tensor]:
        """One value for each level, and a mask that is true everywhere. Gradients flow through the values."""
        images, told = batch["images"], told_of(model, batch, 0.0, rng)
        values: list[Tensor] = []
        for level in self.levels:
            noise, sigma = rng.normal(f"noise {level}", *images.shape[1:]), images.new_full((len(images),), level)
            values.append(-error(model, images, noise, sigma, told))
        stacked = torch.stack(values, 1)
        return stacked, torch.ones_like(stacked, dtype=torch.bool)
