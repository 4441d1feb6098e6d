"""What a training step of a GAN costs: both nets, counted."""

from functools import lru_cache

from torch import Tensor, nn

from makar.core.nouns import Cost
from makar.families.gan.build import Gan
from makar.families.gan.config import GanConfig
from makar.nets.counting import counted


class Judged(nn.Module):
    """A made picture's score: both players as one net to count."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        self.gan = Gan(config)

    def forward(self, latent: Tensor, labels: Tensor | None = None) -> Tensor:
        """The score."""
        return self.gan.critic(self.gan.generator(latent, labels), labels)


@lru_cache(maxsize=8)
def cost(config: GanConfig, length: int) -> Cost:  # noqa: ARG001
    """Parameters, operations and memory for a picture.

    Args:
        config: Of the family.
        length: Of a row of tokens; a picture has none.
    """
    net, labels = config.net, ((1,),) if config.net.num_classes else ()
    picture = (1, net.in_channels, net.sample_size, net.sample_size)
    critic = counted(lambda: Gan(config).critic, picture, *labels, whole=(1,))
    both = counted(lambda: Judged(config), (1, net.latent_size), *labels, whole=(1,))
    generator = both.flops - critic.flops
    # The critic's turn: two pictures forward, the gradient at each, and backward through both of these, twice as long.
    # The generator's: a real picture forward, a made one forward and back to its pixels, and the generator itself.
    return Cost(
        parameters=both.parameters,
        flops=float((4 + 8) * critic.flops + generator + 3 * critic.flops + 3 * generator),
        activations=float(4 * critic.kept),
        units=("images", 1),
        weight_flops=float(4 * critic.flops + generator),
    )
