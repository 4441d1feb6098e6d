"""The record of the language family."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from makar.core.config import Config
from makar.core.nouns import Family, Folder, Model, Source
from makar.data.table import TensorSource
from makar.families.language.config import LanguageConfig
from makar.families.language.cost import cost
from makar.families.language.folder import read, read_parts, recognises, save, save_parts
from makar.families.language.logprob import TokenLogProb
from makar.families.language.objective import NextToken
from makar.families.language.sample import SAMPLER
from makar.families.language.settings import LanguageSettings
from makar.nets.decoder import Decoder


def blocks(net: Decoder) -> Sequence[nn.Module]:
    """The decoder's layers."""
    return list(net.model.layers)


def load(folder: Path) -> Model[Decoder]:
    """Open a folder as a model of this family."""
    return Model(FAMILY, *read(folder))


def tiny() -> tuple[Config, Source]:
    """Counting modulo 16 by one or by three: after two tokens each next one is certain."""
    config = LanguageConfig(
        vocab_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=16
    )
    start, stride = torch.arange(16).repeat_interleave(2), torch.tensor((1, 3)).repeat(16)
    tokens = (start[:, None] + stride[:, None] * torch.arange(13)) % 16
    return config, TensorSource({"tokens": tokens}, seed=0)


FAMILY = Family(
    name="language",
    config=LanguageConfig,
    settings=LanguageSettings,
    build=Decoder,
    blocks=blocks,
    objectives={"next_token": NextToken},
    sampler=SAMPLER,
    log_prob=TokenLogProb(),
    folder=Folder(save, load, recognises, save_parts, read_parts, task="CAUSAL_LM"),
    cost=cost,
    inputs=("tokens",),
    tiny=tiny,
)
