"""Pictures to tensors and back: values in -1 to 1, channels first."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import InputError, ResourceError

if TYPE_CHECKING:
    from PIL.Image import Image
else:
    Image = Any

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's name for so many channels."""


def pillow() -> Any:
    """Pillow, which the extra brings.

    Raises:
        ResourceError: It is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ResourceError("Pillow is not installed", fix="pip install 'makar[images]'") from None
    return Image


def to_picture(values: Float[Tensor, "channels high wide"]) -> Image:
    """A tensor as a picture; what lies beyond -1 and 1 is cut, and 255 levels lie between."""
    levels = ((values.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    mode = MODES.get(len(levels))
    if mode is None:
        raise InputError("no picture has so many channels", value=len(levels), fix=f"there are: {list(MODES)}")
    plain = levels.permute(1, 2, 0).numpy()
    return pillow().fromarray(plain[..., 0] if mode == "L" else np.ascontiguousarray(plain))


def to_values(picture: Any, channels: int) -> Float[Tensor, "channels high wide"]:
    """A picture as a tensor.

    Args:
        picture: Of Pillow, or such a tensor already.
        channels: 1 for grey, 3 for colours, 4 with transparency.

    Raises:
        InputError: It is neither, or a tensor of another shape.
    """
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or len(picture) != channels:
            raise InputError(
                "the picture has another shape", value=tuple(picture.shape), fix=f"give [{channels}, height, width]"
            )
        return picture.float()
    if not isinstance(picture, pillow().Image):
        raise InputError("not a picture", value=type(picture).__name__, fix="give one of Pillow's, or a tensor")
    plain = np.array(picture.convert(MODES[channels]), dtype=np.float32)
    return torch.from_numpy(plain.reshape(*plain.shape[:2], channels)).permute(2, 0, 1) / 127.5 - 1
