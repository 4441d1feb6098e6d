"""How to make a picture: the settings of one answer; imports no torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from makar.core.config import Config, nearest

SamplerName = Literal[
    "ddpm", "ddim", "euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "lcm"
]  # fmt: skip

NAMES: Mapping[str, SamplerName] = {
    # diffusers' schedulers; the one class of DPM-Solver++ is the deterministic one by default
    "DDPMScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "EulerDiscreteScheduler": "euler",
    "FlowMatchEulerDiscreteScheduler": "euler",
    "EDMEulerScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "HeunDiscreteScheduler": "heun",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "EDMDPMSolverMultistepScheduler": "dpmpp_2m",
    "UniPCMultistepScheduler": "unipc",
    "LCMScheduler": "lcm",
    # k-diffusion's functions; its DPM-Solver++ SDE is this one by default
    "sample_euler": "euler",
    "sample_euler_ancestral": "euler_ancestral",
    "sample_heun": "heun",
    "sample_dpmpp_2m": "dpmpp_2m",
    "sample_dpmpp_2m_sde": "dpmpp_2m_sde",
    "sample_lcm": "lcm",
    # what people say
    "euler_a": "euler_ancestral",
    "k_euler": "euler",
    "k_euler_a": "euler_ancestral",
    "k_heun": "heun",
    "k_dpmpp_2m": "dpmpp_2m",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ 2m sde": "dpmpp_2m_sde",
    "uni_pc": "unipc",
}
"""Other tools' names of our samplers."""


def our_name(name: Any) -> Any:
    """Our name of a sampler, whoever's name is given.

    Raises:
        ValueError: Nobody calls one so; with the nearest name.
    """
    ours = get_args(SamplerName)
    if not isinstance(name, str) or name in ours:
        return name
    found = NAMES.get(name) or NAMES.get(name.lower(), name.lower())
    if found not in ours:
        raise ValueError(nearest(name, [*ours, *NAMES]))
    return found


class DiffusionSettings(Config):
    """How one picture is made.

    Args:
        sampler: How noise is taken off; the names of diffusers and k-diffusion are known too.
        steps: Each asks the net once, of "heun" twice.
        spacing: Which noise levels are visited: "path" as the path was made for, "karras" more of the weak ones
            (arXiv 2206.00364, eq. 5).
        guidance_scale: How far to go from what the net says of any picture to what it says of the class; 1 is just the
            class. Paper: arXiv 2207.12598, eq. 6, where it is one more than w.
        negative: What the picture shall not be, for a model that reads: guidance goes away from it.
        guidance_interval: Noise levels (noise over signal) between which to guide. Paper: arXiv 2404.07724.
        guidance_rescale: How much of the contrast that guidance added is taken back. Paper: arXiv 2305.08891, eq. 16.
        control_scale: How much counts what a prompt shows, for a model that is shown something.
        strength: With a picture in the prompt, how far back towards noise it goes before it is made anew.
        tile: Make opposite sides fit, for a texture that repeats.
        height: Of the picture, in pixels, for a model that reads: a whole number of its patches; the net's if left out.
        width: The same.
        previews: Show what the net expects after every so many steps; 0 for never.
    """

    sampler: Annotated[SamplerName, BeforeValidator(our_name)] = "dpmpp_2m"
    steps: int = Field(20, ge=1, le=1000)
    spacing: Literal["path", "karras"] = "path"
    guidance_scale: float = Field(1.0, ge=0)
    negative: str = ""
    guidance_interval: tuple[float, float] = (0.0, 1e6)
    guidance_rescale: float = Field(0.0, ge=0, le=1)
    control_scale: float = Field(1.0, ge=0)
    strength: float = Field(0.8, gt=0, le=1)
    tile: bool = False
    height: int | None = Field(None, ge=1, exclude_if=lambda height: height is None)
    width: int | None = Field(None, ge=1, exclude_if=lambda width: width is None)
    previews: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "DiffusionSettings":
        if self.guidance_interval[0] > self.guidance_interval[1]:
            raise ValueError("give guidance_interval as its lower and its upper noise level")
        return self
