"""How an autoencoder brings pictures back: through their codes, or from codes at random."""

from collections.abc import Sequence

import torch
from torch import Tensor

from makar.codecs.pixels import to_picture
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Chunk, Model, Request, State
from makar.core.random import Rng
from makar.families.autoencoder.build import Net, autoencoder_of, config_of
from makar.families.autoencoder.settings import AutoencoderSettings
from makar.families.pictures import fitting, label_of, parts_of
from makar.families.settings import settings_of
from makar.nets.autoencoder_config import KLBottleneck
from makar.nets.autoencoder_kl import AutoencoderKL, VQModel


class AutoencoderSampler:
    """Implements `core.nouns.Sampler`.

    A prompt is a table: {"image": picture} is brought back through its code, {"codes": tensor} are decoded: of a
    Gaussian bottleneck the latents [latent, lines, places], else whole numbers [lines, places]. None is codes at
    random, and shows what the decoder makes of codes that no picture has. A chunk's `data` is a picture of Pillow;
    `info` has the codes.
    """

    def start(self, model: Model[Net], requests: Sequence[Request]) -> State:
        """Find each row's code.

        Raises:
            UserError: A prompt that the model does not understand, or a picture or codes of another size.
        """
        found = [coded(model, request) for request in requests]
        return {
            "values": torch.stack([values for values, _ in found]),
            "codes": torch.stack([each for _, each in found]),
        }

    def step(self, model: Model[Net], state: State) -> tuple[State, list[Chunk]]:
        """The picture of each code.

        Raises:
            ModelError: The net's numbers are not finite.
        """
        images = autoencoder_of(model.net).decode(state["values"])
        if not bool(images.isfinite().all()):
            raise ModelError("the model's pictures are not finite", fix="its weights are damaged or training diverged")
        return state, [
            Chunk(row, to_picture(image), done=True, reason="stop", info={"codes": codes})
            for row, (image, codes) in enumerate(zip(images, state["codes"].cpu(), strict=True))
        ]


def coded(model: Model[Net], request: Request) -> tuple[Tensor, Tensor]:
    """The values that a request's prompt is encoded to, and their codes: of a Gaussian bottleneck the values again."""
    config, net = config_of(model), autoencoder_of(model.net)
    settings = settings_of(model, request, AutoencoderSettings)
    given = parts_of(request.prompt, ("label", "image", "codes"))
    label_of(given.get("label"), 0, (), None)
    rng = Rng(request.seed, 0, torch.zeros(1, dtype=torch.int64))
    neck, side = config.net.bottleneck, config.net.latent_size
    shape = (side, side) if isinstance(net, VQModel) else (neck.latent_channels, side, side)
    if "codes" in given:
        codes = checked(net, torch.as_tensor(given["codes"]), shape)
    elif "image" in given:
        image = fitting(given["image"], config.net.in_channels, config.net.sample_size)[None].to(model.device)
        if isinstance(net, VQModel):
            found = net.quantized(net.encode(image))
            return found.values[0], found.codes[0]
        codes = net.encode(image).draw(settings.spread * rng.normal("posterior", *shape).to(model.device))[0]
    elif isinstance(neck, KLBottleneck):
        codes = rng.normal("codes", *shape)[0] / config.scaling_factor + config.shift_factor
    else:
        codes = rng.integers("codes", neck.codes, *shape)[0]
    codes = codes.to(model.device)
    return (net.quantize.values(codes[None])[0] if isinstance(net, VQModel) else codes), codes


def checked(net: AutoencoderKL | VQModel, codes: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Codes of a prompt.

    Raises:
        InputError: They are not of the model's shape, or beyond its codebook.
    """
    plain = isinstance(net, AutoencoderKL)
    if tuple(codes.shape) != shape or codes.is_floating_point() != plain:
        value = f"{tuple(codes.shape)} of {codes.dtype}"
        fix = f"give {shape} of {'floating point' if plain else 'whole numbers'}"
        raise InputError("codes of another shape than the model's", value=value, fix=fix)
    if not plain and bool(((codes < 0) | (codes >= len(net.quantize.codebook))).any()):
        fix = f"give numbers below {len(net.quantize.codebook)}"
        raise InputError("the codebook has no such code", value=int(codes.max()), fix=fix)
    return codes.float() if plain else codes.long()


SAMPLER = AutoencoderSampler()
