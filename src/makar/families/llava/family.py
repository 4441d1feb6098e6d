"""The record of the family that sees and talks."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from makar.core.config import Config
from makar.core.nouns import Family, Folder, Model, Source
from makar.data.table import TensorSource
from makar.families.language.settings import LanguageSettings
from makar.families.llava.compose import composed
from makar.families.llava.config import LlavaConfig
from makar.families.llava.cost import cost
from makar.families.llava.folder import read, read_parts, recognises, save, save_parts
from makar.families.llava.objective import NextTokenSeen, SeenLogProb
from makar.families.llava.sample import SAMPLER
from makar.families.pictures import stripes
from makar.nets.clip import layers_of
from makar.nets.clip_config import ClipVisionConfig
from makar.nets.config import DecoderConfig
from makar.nets.llava import Llava


def blocks(net: Llava) -> Sequence[nn.Module]:
    """The layers of the tower and of the decoder."""
    return [*layers_of((net.vision_tower,)), *net.language_model.model.layers]


def load(folder: Path) -> Model[Llava]:
    """Open a folder as a model of this family."""
    return Model(FAMILY, *read(folder))


def tiny() -> tuple[Config, Source]:
    """Stripes, and for each of the eight a word that only who sees can know."""
    vision = ClipVisionConfig(hidden_size=32, num_hidden_layers=2, image_size=8, num_channels=1)
    text = DecoderConfig(
        vocab_size=24, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=16
    )
    images, config = stripes()["images"], LlavaConfig(vision=vision, text=text)
    words = torch.arange(8)[:, None] + 13
    place = torch.full((8, config.places), config.image_token_index)
    tokens = torch.cat((place, torch.ones_like(words), words, torch.zeros_like(words)), 1)
    return config, TensorSource({"tokens": tokens, "images": images[:, None]}, seed=0)


FAMILY = Family(
    name="llava",
    config=LlavaConfig,
    settings=LanguageSettings,
    build=Llava,
    blocks=blocks,
    objectives={"next_token": NextTokenSeen},
    sampler=SAMPLER,
    log_prob=SeenLogProb(),
    folder=Folder(save, load, recognises, save_parts, read_parts, task="CAUSAL_LM"),
    cost=cost,
    inputs=("tokens",),
    tiny=tiny,
    compose=composed,
)
