"""How a picture or a text is embedded: there is one way; imports no torch."""

from makar.core.config import Config


class ClipSettings(Config):
    """Nothing to set."""
