"""How to make a picture: the settings of one answer; imports no torch."""

from pydantic import Field

from makar.core.config import Config


class GanSettings(Config):
    """How one picture is made.

    Args:
        truncation: How far its code may be from the mean of its class: 1 as it was drawn, less for what is safer and
            more alike. Paper: arXiv 1812.04948, appendix B.
        mixing_seed: Another seed, whose style the finer layers take; only for nets that have styles.
        mixing_layer: The first of those layers; half of them if left out.
        steps: With a picture in the prompt: steps of the search for its code.
    """

    truncation: float = Field(1.0, ge=0, le=2)
    mixing_seed: int | None = Field(None, ge=0)
    mixing_layer: int | None = Field(None, ge=1)
    steps: int = Field(200, ge=1, le=10_000)
