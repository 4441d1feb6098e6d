"""What a picture looks like behind noise: the denoiser D(x; sigma, told), and guidance on it.

What the net is told beside the noise is a label, a caption, or nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from makar.core.nouns import Model
from makar.families.diffusion.build import Net
from makar.families.diffusion.caption import Caption, empty, reads
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.control import Shown
from makar.families.diffusion.path import precondition, scale, time_of
from makar.nets.lora import differing

Images = Float[Tensor, "rows channels high wide"]
Rows = Float[Tensor, " rows"]
Labels = Int[Tensor, " rows"]
Told = Labels | Caption | Shown | None

FLAT = 1e-8
"""A contrast that nothing is divided by less than: a net that has learned nothing yet says zero everywhere."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""From noisy pictures `[rows, channels, high, wide]` and their noise levels `[rows]` to the expected pictures."""


@dataclass(frozen=True)
class Guidance:
    """How each row is guided.

    Args:
        scale: 1 for not at all.
        low: The least noise level at which to guide.
        high: The greatest.
        rescale: Share of the added contrast that is taken back.
    """

    scale: Rows
    low: Rows
    high: Rows
    rescale: Rows


def config_of(model: Model[Net]) -> DiffusionConfig:
    """The config of a model of this family."""
    assert isinstance(model.config, DiffusionConfig)
    return model.config


def over(values: Shaped[Tensor, " rows"]) -> Shaped[Tensor, "rows 1 1 1"]:
    """One number for all places of a row."""
    return values[:, None, None, None]


def predict(model: Model[Net], x: Images, sigma: Rows, told: Told) -> Images:
    """F: what the net itself says of y + sigma * noise, in float32."""
    config, beside = config_of(model), told if isinstance(told, Caption) else (told,)
    if isinstance(told, Shown):
        beside = (*told.caption, told.control, told.strength)
    said = model.net(over(scale(config.path, sigma)) * x, time_of(config.path, sigma), *beside)
    return said[:, : x.shape[1]].float()  # nets that also say a variance say it behind


def expected(model: Model[Net], x: Images, sigma: Rows, told: Told) -> Images:
    """D: the expected picture behind the noise. Paper: arXiv 2206.00364, eq. 7.

    Args:
        model: Of this family.
        x: y + sigma * noise.
        sigma: Noise over signal, above 0.
        told: Of each row its label, the number of classes for "none", or its caption; None where the net knows neither.
    """
    skip, out = precondition(config_of(model).path, config_of(model).prediction, sigma)
    return over(skip) * x + over(out) * predict(model, x, sigma, told)


def null_label(config: DiffusionConfig) -> int | None:
    """The label that stands for none, where the net has one."""
    return config.net.num_classes if config.net.num_classes and config.net.null_class else None


def untold(model: Model[Net], rows: int) -> Told:
    """What a net is told of pictures that nothing is known of: the empty caption, the label for none, or nothing."""
    if reads(model):
        return Caption(*(part.expand(rows, *part.shape[1:]) for part in empty(model)))
    null = null_label(config_of(model))
    return None if null is None else torch.full((rows,), null, device=model.device)


def guided(model: Model[Net], told: Told, guidance: Guidance | None, instead: Told = None) -> Denoise:
    """A denoiser whose expectation is pushed away from that of a worse one.

    The worse one is the model part "guide", a lesser model that is told the same (arXiv 2406.02507, eq. 3); without it,
    the net itself, told something else (arXiv 2207.12598, eq. 6).

    Args:
        model: Of this family.
        told: Of each row.
        guidance: Of each row; None for none.
        instead: What the worse one is told of each row: no label unless it is said.
    """
    if guidance is None:
        return lambda x, sigma: expected(model, x, sigma, told)
    config, guide = config_of(model), model.parts.get("guide")

    def denoise(x: Images, sigma: Rows) -> Images:
        inside = (guidance.low <= sigma) & (sigma <= guidance.high)
        strength = torch.where(inside, guidance.scale, 1.0)
        if bool((strength == 1).all()):
            return expected(model, x, sigma, told)
        other = torch.full_like(told, config.net.num_classes) if isinstance(told, Tensor) else instead
        if guide is not None:
            good, worse = expected(model, x, sigma, told), expected(guide, x, sigma, told)
        elif differing(model.net):  # each row is another adapter's, by its number
            good, worse = expected(model, x, sigma, told), expected(model, x, sigma, other)
        else:
            both = joined(told, other)
            good, worse = expected(model, torch.cat((x, x)), torch.cat((sigma, sigma)), both).chunk(2)
        pushed = worse + over(strength) * (good - worse)
        if not bool(guidance.rescale.any()):
            return pushed
        skip, out = (over(part) for part in precondition(config.path, config.prediction, sigma))
        said, wanted = (pushed - skip * x) / out, (good - skip * x) / out
        ratio = wanted.flatten(1).std(1) / said.flatten(1).std(1).clamp(min=FLAT)
        share = torch.where(inside, guidance.rescale, 0.0)
        return skip * x + out * said * over(share * ratio + 1 - share)

    return denoise


def joined(told: Told, instead: Told) -> Int[Tensor, " both"] | Caption | Shown:
    """Rows that are told one thing, then as many that are told another."""
    if isinstance(told, Shown):
        assert isinstance(instead, Shown), "the sampler gives both"
        both = Caption(*(torch.cat(pair) for pair in zip(told.caption, instead.caption, strict=True)))
        return Shown(both, *(torch.cat(pair) for pair in zip(told[1:], instead[1:], strict=True)))
    if isinstance(told, Caption):
        assert isinstance(instead, Caption), "the sampler gives both"
        return Caption(*(torch.cat(pair) for pair in zip(told, instead, strict=True)))
    assert isinstance(told, Tensor), "the sampler has refused what has no label"
    assert isinstance(instead, Tensor), "the label for none"
    return torch.cat((told, instead))


def within_range(denoise: Denoise) -> Denoise:
    """Pictures lie in -1 to 1, and so does every mean of pictures: what lies beyond is the net's error."""
    return lambda x, sigma: denoise(x, sigma).clamp(-1, 1)


def kept_outside(denoise: Denoise, known: Images, mask: Float[Tensor, "rows 1 high wide"]) -> Denoise:
    """What a mask does not open is known already, and needs no guess: inpainting, and outpainting.

    Args:
        denoise: For what is open.
        known: The picture.
        mask: 1 where it is made anew, 0 where it stays.
    """
    return lambda x, sigma: mask * denoise(x, sigma) + (1 - mask) * known


def like_small(denoise: Denoise, small: Images, factors: Shaped[Tensor, " rows"]) -> Denoise:
    """What a picture is when it is made small is known, and only the rest is a guess: super-resolution.

    Paper: arXiv 2212.00490, eq. 13, where small means the mean over cells.

    Args:
        denoise: For all of it.
        small: The small pictures, each pixel as large as its cell.
        factors: Side of each row's cells, in pixels; 1 for a row that knows nothing.
    """

    def said(x: Images, sigma: Rows) -> Images:
        found = denoise(x, sigma)
        for factor in sorted(set(factors.tolist()) - {1}):
            gap = F.avg_pool2d(small - found, factor)
            filled = found + F.interpolate(gap, scale_factor=float(factor), mode="nearest")
            found = torch.where(over(factors == factor), filled, found)
        return found

    return said


def seamless(denoise: Denoise, shifts: Shaped[Tensor, "rows 2"]) -> Denoise:
    """A picture without an edge: the net is shown it as it goes on beyond its sides, from another place each step.

    Args:
        denoise: Knows only pictures with an edge.
        shifts: Lines and columns by which each row is moved on, those that leave coming in again.
    """

    def moved(x: Images, sign: int) -> Images:
        pairs = zip(x, shifts.tolist(), strict=True)
        return torch.stack([each.roll((sign * lines, sign * columns), (1, 2)) for each, (lines, columns) in pairs])

    return lambda x, sigma: moved(denoise(moved(x, 1), sigma), -1)
