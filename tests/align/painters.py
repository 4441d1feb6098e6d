"""Tiny models of pictures that say something, for the tests of alignment."""

import torch

from makar.align.picture_rewards import PictureReward
from makar.align.pictures import PicturePrompt
from makar.core.nouns import Model
from makar.families.diffusion.config import DdpmPath, DiffusionConfig, FlowPath
from makar.families.table import family
from makar.nets.image_config import DiTConfig, UNetConfig

UNET = UNetConfig(
    sample_size=8, in_channels=1, num_classes=2, block_out_channels=(8, 8), down_block_types=("DownBlock2D",) * 2,
    layers_per_block=1, add_attention=False,
)  # fmt: skip

DIT = DiTConfig(sample_size=8, in_channels=1, num_classes=2, num_layers=1, num_attention_heads=2, attention_head_dim=8)


@torch.no_grad()
def shaken(model, seed=0):
    """The model with weights at random, its norms near 1."""
    torch.manual_seed(seed)
    for parameter in model.net.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2 + (parameter.dim() == 1))
    return model


def painter(seed=0, path=None, prediction="velocity", net=UNET, **generation):
    """A diffusion model of two classes of 8x8 gray pixels."""
    found = family("diffusion")
    config = DiffusionConfig(net=net, path=path or FlowPath(), prediction=prediction)
    return shaken(Model(found, config, found.build(config), {}, {"steps": 3, **generation}), seed)


def noisy(seed=0):
    return painter(seed, DdpmPath(), "noise")


def of(name, seed=0):
    """The family's own tiny model."""
    found = family(name)
    torch.manual_seed(seed)
    config, _ = found.tiny()
    return Model(found, config, found.build(config))


def labelled(*labels):
    """Prompts for classes."""
    return [PicturePrompt(label, {"label": torch.tensor(label)}) for label in labels]


def rewarded(rule, name="rule", weight=1.0):
    """A reward of images alone."""
    return PictureReward(name, lambda images, prompts: rule(images), weight, name)


def light(images):
    return images.flatten(1).mean(1)
