"""A trained variational autoencoder as a codec: pictures to codes and back."""

from dataclasses import dataclass
from typing import Any

import torch

from makar.codecs.pixels import to_picture
from makar.core.nouns import Batch, Model
from makar.families.pictures import fitting
from makar.families.vae.likelihood import middle, shown
from makar.families.vae.net import Vae, config_of


@dataclass(frozen=True)
class VaeCodec:
    """Implements `core.nouns.Codec`.

    Args:
        model: Trained.
    """

    model: Model[Vae]

    @torch.inference_mode()
    def encode(self, items: list[Any]) -> Batch:
        """Pictures of the model's size, of Pillow or as tensors, to `code` [rows, code].

        Raises:
            InputError: Something is no picture, or one of another size.
        """
        config = config_of(self.model)
        images = [fitting(item, config.net.in_channels, config.net.sample_size) for item in items]
        self.model.net.eval()
        return {"code": self.model.net.code_of(shown(config, torch.stack(images).to(self.model.device)))}

    @torch.inference_mode()
    def decode(self, batch: Batch) -> list[Any]:
        """Codes to pictures of Pillow."""
        self.model.net.eval()
        images = middle(config_of(self.model), self.model.net.decode(batch["code"].to(self.model.device)))
        return [to_picture(image) for image in images]
