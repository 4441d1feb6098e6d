"""Settings of a model that sees and talks; imports no torch."""

from typing import Literal

from pydantic import Field, model_validator

from makar.nets.llava_config import LlavaShape


class LlavaConfig(LlavaShape):
    """A decoder of text and pictures. See `LlavaShape` for the other fields.

    Args:
        image_mean: Of each channel in 0 to 1: what is taken from pictures before they are seen.
        image_std: Standard deviation of each channel: what they are then divided by.
        center_crop: Whether the middle is cut out of a picture that is no square; else it is squeezed, as SigLIP's are.
    """

    family: Literal["llava"] = "llava"
    image_mean: tuple[float, ...] = Field(default_factory=lambda known: (0.5,) * known["vision"].num_channels)
    image_std: tuple[float, ...] = Field(default_factory=lambda known: (0.5,) * known["vision"].num_channels)
    center_crop: bool = True

    @model_validator(mode="after")
    def _normalised(self) -> "LlavaConfig":
        for name in ("image_mean", "image_std"):
            if len(getattr(self, name)) != self.vision.num_channels:
                raise ValueError(f"give {self.vision.num_channels} numbers for {name}, one for each channel")
        if min(self.image_std) <= 0:
            raise ValueError("set every image_std above 0")
        return self
