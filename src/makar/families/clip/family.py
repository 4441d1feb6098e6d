"""The record of the CLIP family."""

from pathlib import Path

import torch

from makar.core.config import Config
from makar.core.nouns import Family, Folder, Model, Source
from makar.data.table import TensorSource
from makar.families.clip.build import Net, blocks, build
from makar.families.clip.config import ClipConfig
from makar.families.clip.cost import cost
from makar.families.clip.folder import read, read_parts, recognises, save, save_parts
from makar.families.clip.objective import sigmoid, softmax
from makar.families.clip.sample import SAMPLER
from makar.families.clip.score import Likeness
from makar.families.clip.settings import ClipSettings
from makar.families.clip.text import text_of
from makar.families.pictures import stripes
from makar.nets.clip_config import ClipTextConfig, ClipVisionConfig


def load(folder: Path) -> Model[Net]:
    """Open a folder as a model of this family."""
    return Model(FAMILY, *read(folder))


def tiny() -> tuple[Config, Source]:
    """Stripes, and for each of the eight a word."""
    vision = ClipVisionConfig(hidden_size=32, num_hidden_layers=1, image_size=8, num_channels=1)
    text = ClipTextConfig(hidden_size=32, num_hidden_layers=1, vocab_size=10, max_position_embeddings=4)
    words = torch.arange(8) + 2
    tokens = torch.stack((torch.zeros_like(words), words, torch.ones_like(words), torch.ones_like(words)), 1)
    config = ClipConfig(kind="siglip", vision=vision, text=text)  # the one that has all that both losses need
    return config, TensorSource({"images": stripes()["images"], "tokens": tokens}, seed=0)


FAMILY = Family(
    name="clip",
    config=ClipConfig,
    settings=ClipSettings,
    build=build,
    blocks=blocks,
    objectives={"softmax": softmax, "sigmoid": sigmoid},
    sampler=SAMPLER,
    log_prob=Likeness(),
    folder=Folder(save, load, recognises, save_parts, read_parts),
    cost=cost,
    inputs=("images", "tokens"),
    tiny=tiny,
    text=text_of,
)
