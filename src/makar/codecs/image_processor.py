"""Pictures of any size as a tower sees them: what `CLIPImageProcessor` and `SiglipImageProcessor` do, and their file.

The shorter side is brought to the tower's by bicubic interpolation, the middle is cut out, and each channel is made to
have about mean 0 and deviation 1. SigLIP's way brings both sides to the tower's, whatever the shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from makar.codecs.pixels import MODES, pillow
from makar.core.errors import InputError, ModelError
from makar.core.files import read_object

FILE = "preprocessor_config.json"

BICUBIC = 3
"""Pillow's number of it."""

OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP was first trained on: what a folder means that does not say."""

FIX = "open a model whose pictures are resized by bicubic interpolation, cut to a square and normalised"


@final
@dataclass(frozen=True)
class ImageProcessor:
    """Pictures to the tensors that a tower sees.

    Args:
        size: Side of what the tower sees, pixels.
        mean: Of each channel, in 0 to 1.
        std: Standard deviation of each channel.
        center_crop: Whether the middle is cut out of what is no square, as CLIP has it; else both sides are resized.
    """

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    center_crop: bool = True

    def __call__(self, picture: Any) -> Float[Tensor, "channels size size"]:
        """One picture, of any size.

        Args:
            picture: Of Pillow, or the tensor that this gives already.

        Raises:
            InputError: It is neither.
        """
        if isinstance(picture, Tensor):
            if tuple(picture.shape) != (len(self.mean), self.size, self.size):
                wanted = f"give [{len(self.mean)}, {self.size}, {self.size}]"
                raise InputError("the picture has another shape", value=tuple(picture.shape), fix=wanted)
            return picture.float()
        if not isinstance(picture, pillow().Image):
            raise InputError("not a picture", value=type(picture).__name__, fix="give one of Pillow's, or a tensor")
        plain = np.array(self.squared(picture.convert(MODES[len(self.mean)])))
        plain = plain.reshape(self.size, self.size, len(self.mean))
        return self.normalised(torch.from_numpy(plain).permute(2, 0, 1))

    def normalised(
        self, pixels: UInt8[Tensor, "*rows channels size size"]
    ) -> Float[Tensor, "*rows channels size size"]:
        """Pixels of the tower's size, 0 to 255, as it sees them."""
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std

    def squared(self, picture: Any) -> Any:
        """A picture, or its middle, at the tower's size."""
        if not self.center_crop:
            return picture.resize((self.size, self.size), pillow().Resampling.BICUBIC)
        wide, high = picture.size
        short, long = min(wide, high), max(wide, high)
        reached = int(self.size * long / short)
        wide, high = (self.size, reached) if wide <= high else (reached, self.size)
        resized = picture if picture.size == (wide, high) else picture.resize((wide, high), pillow().Resampling.BICUBIC)
        left, top = (wide - self.size) // 2, (high - self.size) // 2
        return resized.crop((left, top, left + self.size, top + self.size))

    def to_ecosystem(self) -> dict[str, Any]:
        """The content of preprocessor_config.json."""
        square = {"height": self.size, "width": self.size}
        if self.center_crop:
            kind, size, cut = "CLIP", {"shortest_edge": self.size}, {"do_center_crop": True, "crop_size": square}
        else:
            kind, size, cut = "Siglip", square, {}
        return {
            "image_processor_type": f"{kind}ImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": size,
            "resample": BICUBIC,
            **cut,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }


def read_processor(folder: Path, size: int) -> ImageProcessor:
    """What a model's folder says that is done to pictures.

    Args:
        folder: With preprocessor_config.json, or with processor_config.json, which transformers 5 writes in its place.
        size: Side of what the tower sees; a folder that says nothing is one of -1 to 1.

    Raises:
        ModelError: Something else is done than is done here.
    """
    single, joined = folder / FILE, folder / "processor_config.json"
    found: Any = read_object(single) if single.is_file() else None
    if found is None and joined.is_file():
        found = read_object(joined).get("image_processor")
    if not isinstance(found, Mapping):
        return ImageProcessor(size)
    square = {"height": size, "width": size}
    sides, cut = found.get("size", {"shortest_edge": size}), found.get("crop_size") or square
    straight = sides == square  # a cut to the same size is then none
    steps = ("resize", "rescale", "normalize") if straight else ("resize", "center_crop", "rescale", "normalize")
    fits = straight or (sides.get("shortest_edge") if isinstance(sides, Mapping) else sides) == size
    done = all(found.get(f"do_{step}", True) for step in steps)
    if not fits or cut not in (size, square) or not done or found.get("resample", BICUBIC) != BICUBIC:
        said = {name: found.get(name) for name in ("size", "crop_size", "resample")}
        raise ModelError("pictures are prepared in a way that is not built here", where=folder, value=said, fix=FIX)
    mean, std = (channels(found, *usual, folder) for usual in (("image_mean", OPENAI_MEAN), ("image_std", OPENAI_STD)))
    return ImageProcessor(size, mean, std, center_crop=not straight)


def channels(found: Mapping[str, Any], name: str, usual: Sequence[float], folder: Path) -> tuple[float, ...]:
    """A number for each channel, as a folder says.

    Raises:
        ModelError: They are something else.
    """
    given = found.get(name, usual)
    if not (
        isinstance(given, list | tuple) and len(given) in (1, 3) and all(isinstance(x, int | float) for x in given)
    ):
        raise ModelError(
            f"{name!r} is not a number for each channel", where=folder, value=given, fix="copy the whole folder again"
        )
    return tuple(float(x) for x in given)
