"""Shapes of pictures for one net: as many, of about its area, from tall to wide. Imports no torch.

Paper: SDXL, arXiv 2307.01952, section 2.3, where training goes on in batches of one shape each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from makar.core.files import seal_of

Shape = tuple[int, int]
"""Height and width."""

LONGEST = 2
"""The longer side over the shorter one, at most."""

LEAST_AREA = 0.75
"""Of the square's: shapes of so few patches that they would have less are none."""


@dataclass(frozen=True)
class Part:
    """Pictures of a split that are brought to one shape.

    Args:
        shape: Height and width in pixels.
        rows: Their places in the split.
    """

    shape: Shape
    rows: frozenset[int]

    @cached_property
    def hash(self) -> str:
        """Equal for the same pictures of the same shape."""
        return seal_of([self.shape, sorted(self.rows)])


def shapes_of(side: int, count: int) -> tuple[Shape, ...]:
    """Shapes with no more area than a square, their ratios apart by equal factors from 1:2 to 2:1, tall ones first.

    Args:
        side: Of the square; all sides are whole numbers of what it is counted in.
        count: How many, the square among them; odd.

    Raises:
        ValueError: There are not so many.
    """
    tall = [(min(side * side // wide, LONGEST * wide), wide) for wide in range(1, side + 1)]
    tall = [shape for shape in tall if math.prod(shape) >= LEAST_AREA * side * side]

    def found(count: int) -> tuple[Shape, ...]:
        ratios = [LONGEST ** (1 - place / (count // 2)) for place in range(count // 2)]
        chosen = [min(tall, key=lambda shape: (abs(skew(shape) - math.log(ratio)), -math.prod(shape)))
                  for ratio in ratios]  # fmt: skip
        return (*chosen, (side, side), *((high, wide) for wide, high in reversed(chosen)))

    most = next(fewer for fewer in range(count, 0, -2) if len(set(found(fewer))) == fewer)
    if most < count:
        raise ValueError(f"set data.buckets to {most} or less: the net's square has {side} patches in a row")
    return found(count)


def skew(shape: Shape) -> float:
    """How much taller than wide, as a logarithm: 0 for a square, and below it for a wide one."""
    high, wide = shape
    return math.log(high / wide)


def placed(
    sizes: Int64[np.ndarray, "pictures 2"], shapes: Sequence[Shape], *, enlarge: bool
) -> Int64[np.ndarray, " pictures"]:
    """Which shape is nearest to each picture's own ratio; -1 for a picture that is left out.

    Args:
        sizes: Heights and widths; 0 for a picture that is left out.
        shapes: To choose from.
        enlarge: Whether a picture may be smaller than its shape; it is left out otherwise.
    """
    known = sizes.min(1) > 0
    own = np.log(np.where(known, sizes[:, 0], 1) / np.where(known, sizes[:, 1], 1))
    nearest = np.abs(own[:, None] - np.array([skew(shape) for shape in shapes])).argmin(1)
    fits = known & (enlarge | (sizes >= np.array(shapes)[nearest]).all(1))
    return np.where(fits, nearest, -1)


def filled(
    sizes: Int64[np.ndarray, "pictures 2"], shapes: Sequence[Shape], least: int, *, enlarge: bool
) -> tuple[tuple[Shape, ...], dict[Shape, int]]:
    """The shapes that have enough pictures; those of the others go to the nearest that is left.

    Args:
        sizes: As `placed` takes them.
        shapes: To choose from.
        least: Pictures that a shape must have; one shape stays whatever it has.
        enlarge: As `placed` takes it.

    Returns:
        The shapes that stay, and of each of the others how many pictures it had when it was given up.
    """
    left, folded = tuple(shapes), dict[Shape, int]()
    while True:
        places = placed(sizes, left, enlarge=enlarge)
        counts = np.bincount(places[places >= 0], minlength=len(left))
        fewest = int(counts.argmin())
        if counts[fewest] >= least or len(left) == 1:
            return left, folded
        folded[left[fewest]] = int(counts[fewest])
        left = left[:fewest] + left[fewest + 1 :]
