"""Settings of an autoencoder; imports no torch."""

from typing import Literal

from pydantic import Field, model_validator

from makar.core.config import Config
from makar.nets.autoencoder_config import AutoencoderNetConfig, CriticConfig


class AutoencoderConfig(Config):
    """Pictures to smaller maps and back.

    Args:
        net: Its shape; the bottleneck says what a place of the map is.
        critic: A second player that judges what comes back; None for none.
        scaling_factor: What codes are multiplied with to have variance 1; measured when training ends.
        shift_factor: What is taken from them before.
    """

    family: Literal["autoencoder"] = "autoencoder"
    net: AutoencoderNetConfig = AutoencoderNetConfig()
    critic: CriticConfig | None = None
    scaling_factor: float = Field(default=1.0, gt=0)
    shift_factor: float = 0.0

    @model_validator(mode="after")
    def _judged(self) -> "AutoencoderConfig":
        if self.critic is not None and self.net.sample_size >> len(self.critic.block_out_channels) == 0:
            raise ValueError(
                f"take fewer critic.block_out_channels: each of the {len(self.critic.block_out_channels)} stages halves"
                f" a picture of {self.net.sample_size} pixels"
            )
        return self
