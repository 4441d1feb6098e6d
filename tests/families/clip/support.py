"""Tiny models of both kinds, with a tokenizer."""

import torch

from makar.codecs.captions import train_captions
from makar.core.nouns import Model
from makar.families.clip.config import ClipConfig
from makar.families.clip.family import FAMILY
from makar.nets.clip_config import ClipTextConfig, ClipVisionConfig

CAPTIONS = ["A cat wearing sunglasses in space", "two red apples on the beach", "a dog in the forest, left"] * 4
LENGTH = 10


def tiny(kind: str = "clip", seed: int = 0, **more) -> Model:
    """An untrained model that has read what it is asked."""
    codec = train_captions(CAPTIONS, 560, LENGTH)
    torch.manual_seed(seed)
    text = ClipTextConfig(
        hidden_size=32, num_hidden_layers=2, vocab_size=codec.vocab_size, max_position_embeddings=LENGTH
    )
    vision = ClipVisionConfig(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=16)
    width = {"projection_dim": 24} if kind == "clip" else {}
    config = ClipConfig(**{"kind": kind, "vision": vision, "text": text, **width, **more})
    net = FAMILY.build(config)
    for parameter in net.parameters():  # so that biases, norms and zeros count
        parameter.data += 0.02 * torch.randn_like(parameter)
    return Model(FAMILY, config, net.eval(), {"codec": codec})


def rows(model: Model, captions=CAPTIONS[:3]) -> dict[str, torch.Tensor]:
    """Noise, and what is said of it."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(len(captions), 3, 16, 16, generator=generator) * 2 - 1
    return {"images": images, "tokens": model.parts["codec"].ids(captions)}


def saved(model: Model, folder):
    """The folder, with the model in it."""
    folder.mkdir(exist_ok=True)
    FAMILY.folder.save(model, folder)
    return folder
