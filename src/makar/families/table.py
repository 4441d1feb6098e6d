"""The families, by name. A new family is one folder, and here a line in each table. Imports no torch."""

from collections.abc import Callable, Mapping
from typing import Any

from makar.core.config import Config
from makar.core.errors import RecipeError
from makar.families.autoencoder.config import AutoencoderConfig
from makar.families.clip.config import ClipConfig
from makar.families.diffusion.config import DiffusionConfig
from makar.families.gan.config import GanConfig
from makar.families.language.config import LanguageConfig
from makar.families.llava.config import LlavaConfig
from makar.families.vae.config import VaeConfig

CONFIGS: Mapping[str, type[Config]] = {
    "language": LanguageConfig,
    "diffusion": DiffusionConfig,
    "autoencoder": AutoencoderConfig,
    "vae": VaeConfig,
    "gan": GanConfig,
    "clip": ClipConfig,
    "llava": LlavaConfig,
}
"""Settings of each family's net."""


def language() -> Any:
    """Language models."""
    from makar.families.language.family import FAMILY

    return FAMILY


def diffusion() -> Any:
    """Diffusion models of pictures."""
    from makar.families.diffusion.family import FAMILY

    return FAMILY


def autoencoder() -> Any:
    """Autoencoders of pictures, which others take for a codec."""
    from makar.families.autoencoder.family import FAMILY

    return FAMILY


def vae() -> Any:
    """Variational autoencoders of pictures."""
    from makar.families.vae.family import FAMILY

    return FAMILY


def gan() -> Any:
    """Pairs of a generator and its critic."""
    from makar.families.gan.family import FAMILY

    return FAMILY


def clip() -> Any:
    """Pairs of a tower that sees and a tower that reads."""
    from makar.families.clip.family import FAMILY

    return FAMILY


def llava() -> Any:
    """Models that see pictures and talk."""
    from makar.families.llava.family import FAMILY

    return FAMILY


FAMILIES: Mapping[str, Callable[[], Any]] = {
    "language": language,
    "diffusion": diffusion,
    "autoencoder": autoencoder,
    "vae": vae,
    "gan": gan,
    "clip": clip,
    "llava": llava,
}
"""The records, made when asked for: they need torch, the settings do not."""


def family(name: str) -> Any:
    """The record of a family.

    Returns:
        A `core.nouns.Family`, not named in the signature because naming it imports torch.

    Raises:
        RecipeError: There is none of that name.
    """
    if name not in FAMILIES:
        raise RecipeError("no such family", value=name, fix=f"choose one of: {', '.join(FAMILIES)}")
    return FAMILIES[name]()
