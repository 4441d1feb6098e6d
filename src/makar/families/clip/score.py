"""How well a picture and a text fit, as a number that orders: of rows, and as what others judge pictures by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from makar.core.errors import InputError
from makar.core.nouns import Batch, Model
from makar.core.random import Rng
from makar.families.clip.build import Net, config_of, embedded, shown
from makar.families.clip.sample import text_vectors
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
        images = F.interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
    return F.normalize(model.net.image_features(shown(config, images)).float(), dim=1)


def fits(model: Model[Net]) -> Callable[[Images, Sequence[Any]], Float[Tensor, " rows"]]:
    """A judge of pictures: the cosine of each with its caption, which can also be climbed.

    Args:
        model: Of this family.

    Returns:
        From pictures in -1 to 1 and as many captions to a number each.
    """

    def judge(images: Images, captions: Sequence[Any]) -> Float[Tensor, " rows"]:
        words = [str(caption) for caption in captions]
        read = text_vectors(model, words).clone()  # made in inference mode, and used where gradients flow
        return (seen(model, images.to(model.device)) * read).sum(1)

    return judge
