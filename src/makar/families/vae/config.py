"""Settings of a variational autoencoder; imports no torch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from makar.core.config import Config
from makar.nets.vae_config import ConvVaeConfig, LadderVaeConfig, MlpVaeConfig

LikelihoodName = Literal["bernoulli", "gaussian", "logistic"]


class VaeConfig(Config):
    """A variational autoencoder.

    Args:
        net: Its shape.
        likelihood: Of a picture's values: "logistic" of 256 levels, as pictures have (arXiv 1606.05328, eq. 2);
            "gaussian" of real numbers, with one learned spread for each channel; "bernoulli" of black and white.
        binarise: What a value between becomes where the likelihood is of black and white: one of them at random, anew
            at every look ("dynamic", arXiv 1509.00519, section 5), or whichever is nearer ("threshold").
        components: Of a prior that is learned, a mixture; 0 for a standard normal. A ladder learns its own.
    """

    family: Literal["vae"] = "vae"
    net: Annotated[MlpVaeConfig | ConvVaeConfig | LadderVaeConfig, Field(discriminator="kind")] = MlpVaeConfig()
    likelihood: LikelihoodName = "logistic"
    binarise: Literal["dynamic", "threshold"] = "dynamic"
    components: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> "VaeConfig":
        if self.components and self.net.kind == "ladder":
            raise ValueError("set components to 0: a ladder learns what it expects by itself")
        return self
