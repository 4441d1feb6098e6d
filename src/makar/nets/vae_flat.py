"""Variational autoencoders with one code for a picture: layers over all its values, or convolutions.

Paper: arXiv 1312.6114.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from makar.nets.gaussians import Normal, split, standard
from makar.nets.vae_blocks import climb, descend
from makar.nets.vae_config import ConvVaeConfig, MlpVaeConfig
from makar.nets.vae_prior import Mixture

Images = Float[Tensor, "rows channels high wide"]
Codes = Float[Tensor, "rows code"]


class Inference(NamedTuple):
    """What a net makes of pictures with some noise.

    Args:
        code: The codes drawn; `decode` gives `said` of them.
        said: The likelihood's parameters.
        divergence: From the prior, in nats, in groups: exact where there is a formula, else at this draw.
        log_ratio: log q(code | picture) - log p(code), at this draw.
    """

    code: Codes
    said: Images
    divergence: Float[Tensor, "rows groups"]
    log_ratio: Float[Tensor, " rows"]


class FlatVae(nn.Module):
    """A picture to one code and back.

    Args:
        config: Its shape.
        outputs: Channels of what it says of a picture.
        components: Of a learned prior; 0 for a standard normal.
    """

    def __init__(self, config: MlpVaeConfig | ConvVaeConfig, outputs: int, components: int = 0) -> None:
        super().__init__()
        self.code_size = config.latent_size
        mlp = isinstance(config, MlpVaeConfig)
        self.encoder = mlp_encoder(config) if mlp else conv_encoder(config)
        self.decoder = mlp_decoder(config, outputs) if mlp else conv_decoder(config, outputs)
        self.prior = Mixture(components, config.latent_size) if components else None

    def see(self, images: Images) -> Normal:
        """The posterior of each picture's code."""
        return split(self.encoder(images))

    def infer(self, seen: tuple[Tensor, ...], noise: Codes) -> Inference:
        """Draw a code of each posterior, and say the picture that it means."""
        posterior = Normal(*seen)
        code = posterior.at(noise)
        if self.prior is None:
            divergence = posterior.divergence(standard(code))
            log_ratio = (posterior.log_prob(code) - standard(code).log_prob(code)).sum(1)
        else:
            log_ratio = posterior.log_prob(code).sum(1) - self.prior.log_prob(code)
            divergence = log_ratio[:, None]
        return Inference(code, self.decoder(code), divergence, log_ratio)

    def code_of(self, seen: tuple[Tensor, ...]) -> Codes:
        """The middle of each posterior."""
        return seen[0]

    def draw(self, noise: Codes, pick: Float[Tensor, " rows"]) -> Codes:
        """Codes from the prior, from standard normal noise and a number in 0 to 1."""
        return noise if self.prior is None else self.prior.draw(noise, pick)

    def decode(self, code: Codes) -> Images:
        """What codes say of pictures."""
        return self.decoder(code)


def mlp_encoder(config: MlpVaeConfig) -> nn.Sequential:
    """Pictures to means and log-variances."""
    widths = [config.in_channels * config.sample_size**2, *config.hidden_sizes]
    return nn.Sequential(nn.Flatten(), *layers(widths), nn.Linear(widths[-1], 2 * config.latent_size))


def mlp_decoder(config: MlpVaeConfig, outputs: int) -> nn.Sequential:
    """Codes to what is said of pictures."""
    side, widths = config.sample_size, [config.latent_size, *reversed(config.hidden_sizes)]
    last = nn.Linear(widths[-1], outputs * side**2)
    return nn.Sequential(*layers(widths), last, nn.Unflatten(1, (outputs, side, side)))


def layers(widths: list[int]) -> list[nn.Module]:
    """Linear layers of these widths, each with its nonlinearity."""
    made: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        made += [nn.Linear(before, after), nn.SiLU()]
    return made


def conv_encoder(config: ConvVaeConfig) -> nn.Sequential:
    """Pictures to means and log-variances."""
    widths, coarsest = config.block_out_channels, config.sample_size >> len(config.block_out_channels)
    stages = [climb(config.in_channels if at == 0 else widths[at - 1], width, config.layers_per_block)
              for at, width in enumerate(widths)]  # fmt: skip
    last = nn.Linear(widths[-1] * coarsest**2, 2 * config.latent_size)
    return nn.Sequential(*stages, nn.SiLU(), nn.Flatten(), last)


def conv_decoder(config: ConvVaeConfig, outputs: int) -> nn.Sequential:
    """Codes to what is said of pictures."""
    widths, coarsest = config.block_out_channels, config.sample_size >> len(config.block_out_channels)
    first = nn.Linear(config.latent_size, widths[-1] * coarsest**2)
    stages = [descend(width, outputs if at == 0 else widths[at - 1], config.layers_per_block)
              for at, width in reversed(list(enumerate(widths)))]  # fmt: skip
    return nn.Sequential(first, nn.Unflatten(1, (widths[-1], coarsest, coarsest)), *stages)
