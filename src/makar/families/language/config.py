"""Settings of a language model; imports no torch."""

from typing import Literal

from makar.nets.config import DecoderConfig


class LanguageConfig(DecoderConfig):
    """A decoder of text. See `DecoderConfig` for the fields."""

    family: Literal["language"] = "language"
