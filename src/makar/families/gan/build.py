"""A fresh pair of nets of this family."""

from collections.abc import Sequence

import torch
from torch import nn

from makar.core.nouns import Model
from makar.families.gan.config import GanConfig
from makar.nets.gan_config import StyleConfig
from makar.nets.r3gan import Critic, Generator
from makar.nets.style import StyleGenerator


class Gan(nn.Module):
    """Both players.

    Args:
        config: Of the family.
    """

    augment_share: torch.Tensor

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        self.generator = StyleGenerator(config.net) if isinstance(config.net, StyleConfig) else Generator(config.net)
        self.critic = Critic(config.net)
        # Of the critic's pictures; where it is adaptive it has a history, which checkpoints keep with the weights.
        self.register_buffer("augment_share", torch.zeros(()))


def blocks(net: Gan) -> Sequence[nn.Module]:  # noqa: ARG001
    """None: what repeats is the critic's, and its gradient is differentiated again, which torch.compile cannot."""
    return ()


def config_of(model: Model[Gan]) -> GanConfig:
    """The config of a model of this family."""
    assert isinstance(model.config, GanConfig)
    return model.config
