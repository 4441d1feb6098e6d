"""How far two sets of features lie apart, taken as two bells: the Fréchet distance."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import InputError

Features = Float[Tensor, "_ dims"]


@dataclass(frozen=True)
class Moments:
    """What a set of features is taken for.

    Args:
        mean: Of each dimension.
        covariance: Unbiased.
    """

    mean: Float[Tensor, " dims"]
    covariance: Float[Tensor, "dims dims"]


def moments(features: Features) -> Moments:
    """Mean and covariance, in float64.

    Raises:
        InputError: Fewer than two rows, or a number that is not finite.
    """
    if len(features) < 2:
        raise InputError("a spread needs two pictures", value=len(features), fix="take more")
    rows = features.double()
    if not bool(rows.isfinite().all()):
        raise InputError("features are not finite", fix="check the feature network and the pictures")
    mean = rows.mean(0)
    centred = rows - mean
    return Moments(mean, centred.T @ centred / (len(rows) - 1))


def frechet_between(first: Moments, second: Moments) -> float:
    """The squared 2-Wasserstein distance of two normal distributions.

    The trace of the root of a product of covariances is the nuclear norm of the product of their roots: so rounding
    stays rounding, where there are fewer rows than dimensions too.

    Paper: arXiv 1706.08500, eq. 6.
    """
    shared = torch.linalg.svdvals(root(first.covariance) @ root(second.covariance)).sum()
    apart = (first.mean - second.mean).square().sum()
    return float(apart + first.covariance.trace() + second.covariance.trace() - 2 * shared)


def root(covariance: Float[Tensor, "dims dims"]) -> Float[Tensor, "dims dims"]:
    """The symmetric root; by singular values where eigenvalues do not converge, as of features that hardly differ."""
    try:
        values, vectors = torch.linalg.eigh(covariance)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]: documented, and not exported
        vectors, values, _ = torch.linalg.svd(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def frechet_distance(first: Features, second: Features) -> float:
    """The Fréchet distance of two sets of features; lower is nearer, and few rows read as farther.

    Args:
        first: Of one set of pictures.
        second: Of the other.

    Raises:
        InputError: As `moments`.
    """
    return frechet_between(moments(first), moments(second))
