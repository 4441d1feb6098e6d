"""How to bring a picture back: the settings of one answer; imports no torch."""

from pydantic import Field

from makar.core.config import Config


class AutoencoderSettings(Config):
    """How one picture is brought back.

    Args:
        spread: Of the draw from each place's Gaussian: 0 for its mean, 1 for a draw. Codes have none.
    """

    spread: float = Field(default=0.0, ge=0)
