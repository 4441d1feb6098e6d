"""A trained variational autoencoder as a codec: pictures to codes and back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from makar.codecs.pixels import to_picture
from makar.core.errors import InputError
from makar.core.nouns import Batch, Model
from makar.core.tensors import hash_tensors
from makar.families.pictures import fitting
from makar.families.vae.folder import save
from makar.families.vae.likelihood import Images, middle, shown
from makar.families.vae.net import Vae, config_of
from makar.nets.vae_flat import FlatVae

Latents = Float[Tensor, "rows code 1 1"]


@final
@dataclass(frozen=True)
class VaeCodec:
    """Implements `core.nouns.LatentCodec`: a code is a map of one place, with a channel for each of its numbers.

    Args:
        model: Trained.
    """

    model: Model[Vae]

    @property
    def channels(self) -> int:
        """Of a picture."""
        return config_of(self.model).net.in_channels

    @property
    def latent_channels(self) -> int:
        """Numbers in a code."""
        return self.model.net.code_size

    @property
    def factor(self) -> int:
        """Pixels in a row that become the one place: all of them."""
        return config_of(self.model).net.sample_size

    def hash(self) -> str:
        """The SHA-256 of the weights."""
        return hash_tensors(self.model.net.state_dict())

    @torch.no_grad()
    def moments(self, images: Images) -> tuple[Latents, Latents]:
        """Mean and standard deviation of pictures' codes; of a ladder, whose numbers hang together, the middle and 0.

        Raises:
            InputError: The pictures are of another size.
        """
        config, net = config_of(self.model), self.model.net.eval()
        if images.shape[2:] != (self.factor, self.factor):
            value = f"{images.shape[3]}x{images.shape[2]}"
            fix = f"make them {self.factor}x{self.factor}; a model of its codes has net.sample_size=1"
            raise InputError("this codec knows pictures of one size", value=value, fix=fix)
        images = shown(config, images.to(self.model.device))
        mean = net.code_of(images)
        spread = (net.see(images)[1] / 2).exp() if isinstance(net.codes, FlatVae) else torch.zeros_like(mean)
        return mean[:, :, None, None], spread[:, :, None, None]

    @torch.no_grad()
    def images(self, latents: Latents) -> Images:
        """The pictures that codes mean."""
        net = self.model.net.eval()
        return middle(config_of(self.model), net.decode(latents.to(self.model.device).flatten(1)))

    def encode(self, items: list[Any]) -> Batch:
        """Pictures of the model's size, of Pillow or as tensors, to the means of their codes.

        Raises:
            InputError: Something is no picture, or one of another size.
        """
        images = torch.stack([fitting(item, self.channels, self.factor) for item in items])
        return {"images": self.moments(images)[0]}

    def decode(self, batch: Batch) -> list[Any]:
        """Codes to pictures of Pillow."""
        return [to_picture(image) for image in self.images(batch["images"])]

    def save(self, folder: Path) -> None:
        """Write the autoencoder into an existing empty folder."""
        save(self.model, folder)
