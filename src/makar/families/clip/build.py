"""A fresh net of this family, its repeated parts, and what it is shown."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.codecs.captions import Captions
from makar.codecs.image_processor import ImageProcessor
from makar.core.errors import ModelError
from makar.core.nouns import Model
from makar.families.clip.config import ClipConfig
from makar.nets.clip import LAST, ClipNet, Images, ends_of, layers_of
from makar.nets.clip_config import ClipTextConfig
from makar.nets.siglip import SiglipNet

Net = ClipNet | SiglipNet


def build(config: ClipConfig) -> Net:
    """The net that a config asks for, from torch's global generator."""
    if config.kind == "siglip":
        return SiglipNet(config.vision, config.text)
    return ClipNet(config.vision, config.text, config.projection_dim, config.logit_scale_init_value)


def blocks(net: Net) -> Sequence[nn.Module]:
    """The layers of both towers."""
    return layers_of((net.vision_model, net.text_model))


def config_of(model: Model[Net]) -> ClipConfig:
    """The config of a model of this family."""
    assert isinstance(model.config, ClipConfig)
    return model.config


def captions_of(model: Model[Net]) -> Captions:
    """The model's tokenizer.

    Raises:
        ModelError: It has none.
    """
    codec = model.parts.get("codec")
    if not isinstance(codec, Captions):
        raise ModelError("the model has no tokenizer of captions", fix="copy the whole model folder")
    return codec


def processor_of(config: ClipConfig) -> ImageProcessor:
    """What brings any picture to what the net sees."""
    return ImageProcessor(config.vision.image_size, config.image_mean, config.image_std, config.center_crop)


def shown(config: ClipConfig, images: Images) -> Images:
    """Pictures of the net's size in -1 to 1, as the net sees them."""
    if set(config.image_mean) == set(config.image_std) == {0.5}:
        return images
    mean, std = (
        torch.tensor(each, device=images.device)[:, None, None] for each in (config.image_mean, config.image_std)
    )
    return ((images + 1) / 2 - mean) / std


def trimmed(config: ClipConfig, tokens: Int[Tensor, "rows tokens"]) -> Int[Tensor, "rows some"]:
    """Rows without the padding that all of them have: a tower that reads from left to right never looks at it."""
    if config.kind == "siglip":
        return tokens
    return tokens[:, : int(ends_of(tokens, config.text.eos_token_id).max()) + 1]


def check_end(codec: Captions, config: ClipTextConfig, where: object) -> None:
    """Refuse a tokenizer whose end of a text the tower would not find: all texts would mean the same to it.

    Raises:
        ModelError: It is one.
    """
    if config.eos_token_id not in (codec.end_id, LAST):
        what, ends = "the tokenizer ends texts otherwise than the tower", f"{codec.end_id} and {config.eos_token_id}"
        raise ModelError(what, where=where, value=ends, fix="copy both from the same model")


def embedded(
    model: Model[Net], images: Images, tokens: Int[Tensor, "rows tokens"]
) -> tuple[Float[Tensor, "rows dims"], Float[Tensor, "rows dims"]]:
    """Pictures in -1 to 1 and the texts beside them in the shared space, of length 1."""
    config = config_of(model)
    return model.net(shown(config, images), trimmed(config, tokens))
