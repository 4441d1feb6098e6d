"""How well a picture and a text fit, as a number that orders, and pictures of any size in the shared space."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from makar.core.errors import InputError
from makar.core.nouns import Batch, Model
from makar.core.random import Rng
from makar.families.clip.build import Net, config_of, embedded, shown
from makar.nets.clip import Images, Vectors


@dataclass(frozen=True)
class Likeness:
    """Implements `core.nouns.LogProb`: the cosine of the angle between both."""

    kind: Literal["exact", "bound", "score"] = "score"

    def __call__(
        self,
        model: Model[Net],
        batch: Batch,
        rng: Rng,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "rows 1"], Bool[Tensor, "rows 1"]]:
        """One number a row, in -1 to 1."""
        seen, read = embedded(model, batch["images"], batch["tokens"])
        values = (seen * read).sum(1, keepdim=True)
        return values, torch.ones_like(values, dtype=torch.bool)


def seen(model: Model[Net], images: Images) -> Vectors:
    """Pictures of any size in -1 to 1 in the shared space, of length 1; with their gradient.

    Args:
        model: Of this family.
        images: Of as many channels as it sees; those of another size are brought to its own by bicubic interpolation.

    Raises:
        InputError: They have other channels.
    """
    config = config_of(model)
    channels, side = config.vision.num_channels, config.vision.image_size
    if images.shape[1] != channels:
        raise InputError("CLIP sees pictures of other channels", value=images.shape[1], fix=f"give {channels}")
    if images.shape[2:] != (side, side):
        images = F.interpolate(images, (side, side), mode="bicubic", antialias=True)
    return F.normalize(model.net.image_features(shown(config, images.clamp(-1, 1))).float(), dim=1)
