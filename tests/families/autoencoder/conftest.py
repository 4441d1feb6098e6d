"""Tiny autoencoders of every bottleneck."""

import torch

from makar.core.nouns import Model
from makar.families.autoencoder.config import AutoencoderConfig
from makar.families.autoencoder.family import FAMILY

NECKS = {
    "kl": {"kind": "kl", "latent_channels": 3},
    "vq": {"kind": "vq", "num_vq_embeddings": 8, "vq_embed_dim": 3, "decay": 0.5},
    "fsq": {"kind": "fsq", "levels": (4, 3, 3)},
    "lfq": {"kind": "lfq", "bits": 4},
}


def config_for(neck, **more):
    shape = {"sample_size": 8, "in_channels": 1, "block_out_channels": (8, 8), "bottleneck": NECKS[neck]}
    return AutoencoderConfig.model_validate({"net": shape, **more})


def make(neck="kl", seed=0, **more):
    config = config_for(neck, **more)
    torch.manual_seed(seed)
    return Model(FAMILY, config, FAMILY.build(config))
