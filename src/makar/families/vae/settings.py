"""How a variational autoencoder makes a picture; imports no torch."""

from pydantic import Field

from makar.core.config import Config


class VaeSettings(Config):
    """How one picture is made.

    Args:
        temperature: Spread of the codes drawn; 1 as the model expects them, less for more usual pictures.
        variation: With a picture in the prompt, how far from it to go: 0 gives it back, 1 forgets it.
    """

    temperature: float = Field(1.0, ge=0)
    variation: float = Field(0.0, ge=0, le=1)
