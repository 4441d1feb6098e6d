"""Settings of two towers; imports no torch."""

from typing import Literal

from pydantic import Field, model_validator

from makar.core.config import Config
from makar.nets.clip_config import LOGIT_SCALE, ClipTextConfig, ClipVisionConfig


class ClipConfig(Config):
    """Two towers and the space that they share.

    Args:
        kind: "clip" for CLIP's towers, "siglip" for SigLIP's, which learn a bias too.
        vision: The tower that sees.
        text: The tower that reads.
        projection_dim: Width of the shared space; by default as wide as the tower that sees, as SigLIP's always is.
        logit_scale_init_value: Logarithm of what CLIP's likeness is multiplied with, to begin with.
        image_mean: Of each channel in 0 to 1: what is taken from pictures before they are seen.
        image_std: Standard deviation of each channel: what they are then divided by.
        center_crop: Whether the middle is cut out of a picture that is no square; else it is squeezed, as SigLIP's are.
    """

    family: Literal["clip"] = "clip"
    kind: Literal["clip", "siglip"] = "clip"
    vision: ClipVisionConfig = ClipVisionConfig()
    text: ClipTextConfig = ClipTextConfig()
    projection_dim: int = Field(default_factory=lambda known: known["vision"].hidden_size, gt=0)
    logit_scale_init_value: float = LOGIT_SCALE
    image_mean: tuple[float, ...] = Field(default_factory=lambda known: (0.5,) * known["vision"].num_channels)
    image_std: tuple[float, ...] = Field(default_factory=lambda known: (0.5,) * known["vision"].num_channels)
    center_crop: bool = True

    @model_validator(mode="after")
    def _fits(self) -> "ClipConfig":
        if self.kind == "siglip" and self.projection_dim != self.vision.hidden_size:
            raise ValueError(f"set projection_dim to vision.hidden_size {self.vision.hidden_size}, as SigLIP has it")
        for name in ("image_mean", "image_std"):
            if len(getattr(self, name)) != self.vision.num_channels:
                raise ValueError(f"give {self.vision.num_channels} numbers for {name}, one for each channel")
        if min(self.image_std) <= 0:
            raise ValueError("set every image_std above 0")
        return self
