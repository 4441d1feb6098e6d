"""Settings of a diffusion model; imports no torch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from makar.core.config import Config
from makar.nets.image_config import DiTConfig, UNetConfig
from makar.nets.mmdit_config import MMDiTConfig

Prediction = Literal["noise", "data", "velocity"]


class DdpmPath(Config):
    """A thousand steps from picture to noise, in diffusers' own words. Paper: arXiv 2006.11239, eq. 4.

    Args:
        beta_schedule: How the noise of a step grows: "linear", "scaled_linear", or "squaredcos_cap_v2", the cosine of
            arXiv 2102.09672, eq. 17.
        num_train_timesteps: How many.
        beta_start: Noise of the first step; the cosine has none of its own.
        beta_end: Of the last.
        timestep_spacing: Which of them a sampler visits. Paper: arXiv 2305.08891, table 2.
        steps_offset: Added to those of "leading".
    """

    name: Literal["ddpm"] = "ddpm"
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    num_train_timesteps: int = Field(default=1000, gt=1)
    beta_start: float = Field(default=0.0001, gt=0, lt=1)
    beta_end: float = Field(default=0.02, gt=0, lt=1)
    timestep_spacing: Literal["linspace", "leading", "trailing"] = "trailing"
    steps_offset: int = Field(default=0, ge=0)


class EdmPath(Config):
    """Noise of any strength, and a net whose input and output have variance 1. Paper: arXiv 2206.00364, table 1.

    Args:
        sigma_data: Standard deviation of the pictures' values, which lie in -1 to 1.
        sigma_min: The last noise that a sampler meets.
        sigma_max: The first.
        rho: How much of a sampler's steps goes to weak noise.
        p_mean: Mean of the logarithm of the noise in training.
        p_std: Its standard deviation.
    """

    name: Literal["edm"] = "edm"
    sigma_data: float = Field(default=0.5, gt=0)
    sigma_min: float = Field(default=0.002, gt=0)
    sigma_max: float = Field(default=80.0, gt=0)
    rho: float = Field(default=7.0, gt=0)
    p_mean: float = -1.2
    p_std: float = Field(default=1.2, gt=0)


class FlowPath(Config):
    """A straight line from picture to noise. Paper: arXiv 2209.03003; times of training: arXiv 2403.03206, eq. 19.

    Args:
        logit_mean: Mean of the logit of the time in training; above 0 for more noise.
        logit_std: Its standard deviation.
        shift: Moves all times towards noise, as large pictures need: arXiv 2403.03206, eq. 23.
    """

    name: Literal["flow"] = "flow"
    logit_mean: float = 0.0
    logit_std: float = Field(default=1.0, gt=0)
    shift: float = Field(default=1.0, gt=0)


AnyPath = DdpmPath | EdmPath | FlowPath


class DiffusionConfig(Config):
    """A denoiser of pictures.

    Args:
        net: Its shape, and how many classes it knows; "mmdit" reads texts by the model's part "text".
        path: From picture to noise.
        prediction: What the net says: the noise, the picture, or the velocity on the path (for "edm" its own mixture).
        classes: Names of the classes, in the order of their labels, where they have names.
    """

    family: Literal["diffusion"] = "diffusion"
    net: Annotated[UNetConfig | DiTConfig | MMDiTConfig, Field(discriminator="kind")] = UNetConfig()
    path: Annotated[DdpmPath | EdmPath | FlowPath, Field(discriminator="name")] = FlowPath()
    prediction: Prediction = "velocity"
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> "DiffusionConfig":
        if self.classes and len(self.classes) != self.net.num_classes:
            raise ValueError(
                f"give as many classes as net.num_classes (got {len(self.classes)} and {self.net.num_classes})"
            )
        return self
