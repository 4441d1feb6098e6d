"""A fresh net of this family, alone or with its critic, and its repeated parts."""

from collections.abc import Sequence

from torch import Tensor, nn

from makar.core.nouns import Model
from makar.families.autoencoder.config import AutoencoderConfig
from makar.nets.autoencoder_kl import AutoencoderKL, VQModel, build_autoencoder
from makar.nets.critic import PatchCritic
from makar.nets.image_blocks import ResnetBlock, SelfAttention


class Contest(nn.Module):
    """An autoencoder and who judges it: two players, each a submodule.

    Args:
        config: Of both.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        assert config.critic is not None
        self.model = build_autoencoder(config.net)
        self.critic = PatchCritic(config.critic, config.net.out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """What the critic says of the pictures that come back."""
        return self.critic(self.model(images))


Net = AutoencoderKL | VQModel | Contest


def build(config: AutoencoderConfig) -> Net:
    """The net that a config asks for, from torch's global generator."""
    return build_autoencoder(config.net) if config.critic is None else Contest(config)


def blocks(net: Net) -> Sequence[nn.Module]:
    """The residual blocks and attentions."""
    return [module for module in net.modules() if isinstance(module, ResnetBlock | SelfAttention)]


def autoencoder_of(net: Net) -> AutoencoderKL | VQModel:
    """The autoencoder, with a critic beside it or without."""
    return net.model if isinstance(net, Contest) else net


def config_of(model: Model[Net]) -> AutoencoderConfig:
    """The config of a model of this family."""
    assert isinstance(model.config, AutoencoderConfig)
    return model.config
