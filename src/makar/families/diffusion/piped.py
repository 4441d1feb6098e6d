"""Why no pipeline of diffusers makes the pictures of a model that reads, where none does."""

from typing import Any

from makar.core.nouns import Model
from makar.families.autoencoder.codec import AutoencoderCodec
from makar.families.diffusion.caption import reads, shape_of
from makar.families.diffusion.config import DiffusionConfig, FlowPath
from makar.families.diffusion.ecosystem import PIPED_TOKENS
from makar.nets.autoencoder_kl import AutoencoderKL


def no_pipeline(model: Model[Any]) -> str | None:
    """What keeps `StableDiffusion3Pipeline` from a model's folder, in a line; None where nothing does.

    Args:
        model: Of any family; of one that does not read, there is nothing to say.
    """
    config, codec = model.config, model.parts.get("codec")
    if not isinstance(config, DiffusionConfig) or not reads(model):
        return None
    if codec is None:
        return (
            "no pipeline of diffusers makes pictures without a VAE: open the folder with SD3Transformer2DModel, and its"
            " text_encoder with CLIPTextModelWithProjection"
        )
    named = "StableDiffusion3Pipeline does not fit"
    if not isinstance(config.path, FlowPath) or config.prediction != "velocity":
        return f"{named}: it takes the velocity of a flow, not the {config.prediction} of path {config.path.name!r}"
    learned = shape_of(model).empty_tokens
    if learned != PIPED_TOKENS:
        return f"{named}: it puts {PIPED_TOKENS} empty tokens behind a text, and this net learned with {learned}"
    if not isinstance(codec, AutoencoderCodec) or not isinstance(codec.model.net, AutoencoderKL):
        return f"{named}: its latents are those of an AutoencoderKL"
    return None
