"""Settings of a GAN; imports no torch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from makar.core.config import Config
from makar.nets.gan_config import R3ganConfig, StyleConfig


class GanConfig(Config):
    """A generator and its critic.

    Args:
        net: Their shape, and how many classes they know.
        classes: Names of the classes, in the order of their labels, where they have names.
    """

    family: Literal["gan"] = "gan"
    net: Annotated[R3ganConfig | StyleConfig, Field(discriminator="kind")] = R3ganConfig()
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> "GanConfig":
        if self.classes and len(self.classes) != self.net.num_classes:
            raise ValueError(
                f"give as many classes as net.num_classes (got {len(self.classes)} and {self.net.num_classes})"
            )
        return self
