"""The net of this family: codes, and what its likelihood learns beside them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from makar.core.nouns import Model
from makar.families.vae.config import LikelihoodName, VaeConfig
from makar.families.vae.likelihood import LIKELIHOODS, OUTPUTS, Images, Nats, Said
from makar.nets.vae_config import LadderVaeConfig, MlpVaeConfig
from makar.nets.vae_flat import Codes, FlatVae, Inference
from makar.nets.vae_ladder import LadderVae


class Vae(nn.Module):
    """Pictures to codes and back.

    Args:
        config: Of the family.
    """

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.likelihood: LikelihoodName = config.likelihood
        shape = config.net
        outputs = shape.in_channels * OUTPUTS[config.likelihood]
        ladder = isinstance(shape, LadderVaeConfig)
        self.codes = LadderVae(shape, outputs) if ladder else FlatVae(shape, outputs, config.components)
        self.log_scale = nn.Parameter(torch.zeros(shape.in_channels)) if config.likelihood == "gaussian" else None
        self.layout = torch.contiguous_format if isinstance(shape, MlpVaeConfig) else torch.channels_last

    @property
    def code_size(self) -> int:
        """Numbers in a code."""
        return self.codes.code_size

    def see(self, images: Images) -> tuple[Tensor, ...]:
        """What the codes of pictures are inferred from: tensors, the leading dimension of each is the row."""
        return self.codes.see(images.contiguous(memory_format=self.layout))

    def infer(self, seen: tuple[Tensor, ...], noise: Codes) -> Inference:
        """Draw codes, and say the pictures that they mean."""
        return self.codes.infer(seen, noise)

    def code_of(self, images: Images) -> Codes:
        """The middle code of each picture."""
        return self.codes.code_of(self.see(images))

    def draw(self, noise: Codes, pick: Float[Tensor, " rows"]) -> Codes:
        """Codes from the prior, from standard normal noise and numbers in 0 to 1."""
        return self.codes.draw(noise, pick)

    def decode(self, code: Codes) -> Said:
        """What codes say of pictures."""
        return self.codes.decode(code)

    def log_likelihood(self, said: Said, images: Images) -> Nats:
        """How likely pictures are by what was said of them."""
        return LIKELIHOODS[self.likelihood](said, images, self.log_scale)

    def forward(self, images: Images, noise: Codes) -> tuple[Nats, Nats]:
        """How likely pictures are given codes drawn for them, and what the codes cost."""
        found = self.infer(self.see(images), noise)
        return self.log_likelihood(found.said, images), found.divergence.sum(1)


def config_of(model: Model[Any]) -> VaeConfig:
    """The model's config, which is of this family."""
    assert isinstance(model.config, VaeConfig)
    return model.config


def repeated(seen: tuple[Tensor, ...], times: int) -> tuple[Tensor, ...]:
    """What is seen of each row, so many times one after the other."""
    return seen if times == 1 else tuple(part.repeat_interleave(times, 0) for part in seen)
