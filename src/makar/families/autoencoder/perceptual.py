"""How different two pictures look to a net that knows pictures: distances between its features.

The net is a stack of convolutions whose weights are in a safetensors file by the names that the VGG nets have
everywhere: `features.0.weight`, `features.0.bias`, `features.2.weight` ... Where a number is left out, the maps are
halved before the next convolution. Nothing else of such a file is read.
"""

import re
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import ModelError
from makar.core.tensors import load_tensors

Images = Float[Tensor, "rows channels high wide"]
Layers = tuple[tuple[Tensor, Tensor, bool], ...]

MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pictures that such nets are trained on, as values in 0 to 1."""

NAME = re.compile(r"features\.(\d+)\.weight")

WANTED = "give a safetensors file with features.0.weight, features.0.bias, ... of a VGG net without batch norms"
"""The fix, whatever is wrong with the file."""


@lru_cache(maxsize=2)
def feature_layers(path: str) -> Layers:
    """The convolutions of a file: weight, bias, and whether the map is halved before.

    Raises:
        ModelError: It is missing, damaged, or holds no such stack.
    """
    found = load_tensors(Path(path))
    places = sorted(int(match[1]) for match in map(NAME.fullmatch, found) if match)
    if not places or any(found[f"features.{place}.weight"].ndim != 4 for place in places):
        raise ModelError("no stack of convolutions in it", where=path, fix=WANTED)
    layers: list[tuple[Tensor, Tensor, bool]] = []
    for before, place in zip((places[0], *places), places, strict=False):
        weight, bias = found[f"features.{place}.weight"].float(), found.get(f"features.{place}.bias")
        if bias is None or (layers and weight.shape[1] != len(layers[-1][0])):
            raise ModelError(
                "its convolutions do not follow each other", where=path, value=f"features.{place}", fix=WANTED
            )
        layers.append((weight, bias.float(), place - before > 2))
    if layers[0][0].shape[1] != 3:
        shape = tuple(layers[0][0].shape)
        raise ModelError("its first convolution takes no colours", where=path, value=shape, fix=WANTED)
    return tuple(layers)


def features(images: Images, layers: Layers) -> list[Tensor]:
    """The last map of each resolution, each place's vector made length 1. Paper: arXiv 1801.03924, eq. 1.

    Args:
        images: In -1 to 1; grey ones are shown in three equal channels.
        layers: From `feature_layers`.
    """
    mean, spread = (images.new_tensor(each)[:, None, None] for each in (MEAN, SPREAD))
    x = ((images.expand(-1, 3, -1, -1) + 1) / 2 - mean) / spread
    maps: list[Tensor] = []
    for weight, bias, halved in layers:
        if halved and min(x.shape[2:]) > 1:
            maps.append(x)
            x = F.max_pool2d(x, 2)
        x = F.conv2d(x, weight.to(x.device), bias.to(x.device), padding=weight.shape[2] // 2).relu()
    return [F.normalize(each, dim=1, eps=1e-10) for each in (*maps, x)]


def perceptual(images: Images, again: Images, path: str) -> Float[Tensor, " rows"]:
    """The distance between the features of two pictures: a mean square over places, summed over resolutions.

    Args:
        images: In -1 to 1.
        again: Compared with them; gradients flow to both.
        path: Of the file.
    """
    layers = feature_layers(path)
    pairs = zip(features(images, layers), features(again, layers), strict=True)
    gaps = [(one - other).square().sum(1).flatten(1).mean(1) for one, other in pairs]
    return torch.stack(gaps).sum(0)
