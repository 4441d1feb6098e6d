"""A trained autoencoder as what other families take for pictures made small."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from makar.codecs.pixels import to_picture, to_values
from makar.core.errors import InputError
from makar.core.nouns import Batch, Model
from makar.core.tensors import hash_tensors
from makar.families.autoencoder.build import Net, autoencoder_of, config_of
from makar.families.autoencoder.folder import save
from makar.nets.autoencoder_kl import AutoencoderKL

Images = Float[Tensor, "rows channels high wide"]
Latents = Float[Tensor, "rows latent lines places"]


@final
@dataclass(frozen=True)
class AutoencoderCodec:
    """Implements `core.nouns.LatentCodec`: latents of variance 1 about.

    Args:
        model: Of this family; frozen.
    """

    model: Model[Net]

    @property
    def channels(self) -> int:
        """Of a picture."""
        return config_of(self.model).net.in_channels

    @property
    def latent_channels(self) -> int:
        """Of its latents."""
        return config_of(self.model).net.bottleneck.latent_channels

    @property
    def factor(self) -> int:
        """Pixels in a row that become one place."""
        return config_of(self.model).net.factor

    def hash(self) -> str:
        """The SHA-256 of the weights and of how latents are scaled."""
        config = config_of(self.model)
        scale = torch.tensor([config.scaling_factor, config.shift_factor], dtype=torch.float64)
        return hash_tensors({**autoencoder_of(self.model.net).state_dict(), "scale": scale})

    @torch.no_grad()
    def moments(self, images: Images) -> tuple[Latents, Latents]:
        """Mean and standard deviation of pictures' latents; of a codec of codes, what is rounded to them, and 0."""
        config, net = config_of(self.model), autoencoder_of(self.model.net)
        images = images.to(self.model.device)
        if isinstance(net, AutoencoderKL):
            found = net.encode(images)
            mean, spread = found.mean, (0.5 * found.log_variance).exp()
        else:
            mean = net.encode(images)
            spread = torch.zeros_like(mean)
        return (mean - config.shift_factor) * config.scaling_factor, spread * config.scaling_factor

    @torch.no_grad()
    def images(self, latents: Latents) -> Images:
        """The pictures of latents; those of a codec of codes are rounded to codes first."""
        config, net = config_of(self.model), autoencoder_of(self.model.net)
        plain = latents.to(self.model.device) / config.scaling_factor + config.shift_factor
        return net.decode(plain if isinstance(net, AutoencoderKL) else net.quantized(plain).values)

    def encode(self, items: list[Any]) -> Batch:
        """Pictures of Pillow, or tensors, of one size to the means of their latents.

        Raises:
            InputError: Something that is no picture, or of a size that the codec cannot halve so often.
        """
        images = torch.stack([to_values(item, self.channels) for item in items])
        if any(size % self.factor for size in images.shape[2:]):
            fix = f"make its sides multiples of {self.factor}"
            raise InputError("no latents for this size", value=tuple(images.shape[2:]), fix=fix)
        return {"images": self.moments(images)[0]}

    def decode(self, batch: Batch) -> list[Any]:
        """Latents to pictures of Pillow."""
        return [to_picture(image) for image in self.images(batch["images"])]

    def save(self, folder: Path) -> None:
        """Write the autoencoder into an existing empty folder."""
        save(self.model, folder)
