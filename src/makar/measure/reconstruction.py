"""How near a picture comes back from its code, and how much of a codebook is put to use."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def psnr(
    images: Float[Tensor, "rows channels high wide"], again: Float[Tensor, "rows channels high wide"]
) -> Float[Tensor, " rows"]:
    """The peak signal over the noise, in decibels for each picture, of what a file of 8 bits would hold.

    Args:
        images: In -1 to 1.
        again: The same pictures, come back.

    Returns:
        10 log10(255^2 / mean square error); 100 for a picture that came back to the bit.
    """
    error = (levels(images) - levels(again)).square().flatten(1).mean(1)
    return (10 * (255**2 / error.clamp(min=255**2 * 1e-10)).log10()).float()


def levels(images: Shaped[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Values in -1 to 1 as the 256 levels of a file."""
    return ((images.double().clamp(-1, 1) + 1) * 127.5).round()


def perplexity(codes: Int[Tensor, "..."], count: int) -> float:
    """Of how many codes some are as varied as, were they alike frequent.

    Args:
        codes: Of any shape.
        count: How many there are.
    """
    shares = torch.bincount(codes.flatten(), minlength=count).double() / codes.numel()
    return float(torch.special.entr(shares).sum().exp())


def used(codes: Int[Tensor, "..."], count: int) -> float:
    """The share of all codes that occur at all.

    Args:
        codes: Of any shape.
        count: How many there are.
    """
    return len(codes.unique()) / count
