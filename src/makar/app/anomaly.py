"""How unusual a picture is: the share of pictures never seen that a model finds likelier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from makar.core.errors import InputError
from makar.core.random import Rng
from makar.core.say import Say

if TYPE_CHECKING:
    from makar.core.nouns import Model
    from makar.data.dataset import Dataset

HELD, AT_ONCE = 500, 100
"""Test pictures that say what is usual, and pictures that are judged together."""


@dataclass(frozen=True)
class Score:
    """What a model thinks of a picture.

    Args:
        file: Its name.
        nats: How likely it is: a log-probability, or a bound on it.
        rarer: The share of test pictures that are likelier: near 1 for what the model never saw the like of.
    """

    file: str
    nats: float
    rarer: float


def score(model: "Model[Any]", files: Sequence[Path], dataset: "Dataset", *, say: Say) -> list[Score]:
    """Judge pictures.

    Args:
        model: Of pictures, that says how likely they are.
        files: PNG or JPEG.
        dataset: Whose test pictures say what is usual, and how pictures are brought to a size.
        say: For the reader.

    Raises:
        InputError: The model cannot say, or something is no picture.
    """
    from makar.data.pixels import Pixels, kept_pixels

    says = model.family.log_prob
    if says is None or says.kind == "score" or "images" not in model.family.inputs:
        raise InputError("this model does not say how likely a picture is", value=model.family.name, fix="train a VAE")
    net: Any = model.config.net  # pyright: ignore[reportAttributeAccessIssue]: every family of pictures has one
    images = torch.stack([read(file, dataset, net.sample_size, net.in_channels) for file in files])
    shards = kept_pixels(dataset, "test", net.sample_size, 1 if net.in_channels == 1 else 3, say=say)
    held = Pixels(shards, 0).batch(0, min(HELD, shards.rows))["images"]
    usual = judged(model, held).sort().values
    nats = judged(model, images)
    rarer = 1 - torch.searchsorted(usual, nats, right=True).float() / len(usual)
    rows = zip(files, nats.tolist(), rarer.tolist(), strict=True)
    return [Score(str(file), likely, share) for file, likely, share in rows]


@torch.inference_mode()
def judged(model: "Model[Any]", images: Tensor) -> Tensor:
    """How likely a model finds pictures, in nats; the same picture always gets the same."""
    from makar.engine.run import eval_mode

    says, found = model.family.log_prob, list[Tensor]()
    assert says is not None
    with eval_mode(model):
        for some in images.to(model.device).split(AT_ONCE):
            rng = Rng(0, 0, torch.zeros(len(some), dtype=torch.int64, device=model.device))
            values, mask = says(model, {"images": some}, rng)
            found.append((values * mask).sum(1).cpu())
    return torch.cat(found)


def read(file: Path, dataset: "Dataset", size: int, channels: int) -> Tensor:
    """A picture as those of the dataset are: decoded, and brought to the size.

    Raises:
        InputError: It cannot be read as one.
    """
    from makar.app.pictures import opened
    from makar.codecs.pixels import to_values

    options = dataset.manifest.options.pictures.model_copy(update={"size": size})
    return to_values(opened(file, options), channels)
