"""The record of the autoencoder family."""

from dataclasses import replace
from pathlib import Path

from makar.core.config import Config
from makar.core.nouns import Family, Folder, Model, Source
from makar.data.table import TensorSource
from makar.families.autoencoder.build import Net, blocks, build, config_of
from makar.families.autoencoder.codec import AutoencoderCodec
from makar.families.autoencoder.config import AutoencoderConfig
from makar.families.autoencoder.cost import cost
from makar.families.autoencoder.folder import read, recognises, save
from makar.families.autoencoder.objective import Reconstruct
from makar.families.autoencoder.sample import SAMPLER
from makar.families.autoencoder.settings import AutoencoderSettings
from makar.families.pictures import stripes
from makar.nets.autoencoder_config import AutoencoderNetConfig

MEASURED = 16
"""Batches of training rows over which the spread of latents is measured, of 64 rows each."""


def load(folder: Path) -> Model[Net]:
    """Open a folder as a model of this family."""
    return Model(FAMILY, *read(folder))


def measured(model: Model[Net], source: Source) -> Model[Net]:
    """The model, with the factor that gives its latents variance 1. Paper: arXiv 2112.10752, appendix G."""
    config = config_of(model).model_copy(update={"scaling_factor": 1.0, "shift_factor": 0.0})
    codec = AutoencoderCodec(replace(model, config=config))
    count, total, square = 0, 0.0, 0.0
    for step in range(MEASURED):
        mean, spread = codec.moments(source.batch(step, 64)["images"])
        count += mean.numel()
        total += float(mean.double().sum())
        square += float((mean.double().square() + spread.double().square()).sum())
    variance = square / count - (total / count) ** 2
    factor = float(f"{max(variance, 1e-12) ** -0.5:.6g}")
    return replace(model, config=config.model_copy(update={"scaling_factor": factor}))


def tiny() -> tuple[Config, Source]:
    """Stripes."""
    net = AutoencoderNetConfig(sample_size=8, in_channels=1, block_out_channels=(16, 16))
    return AutoencoderConfig(net=net), TensorSource({"images": stripes()["images"]}, seed=0)


FAMILY = Family(
    name="autoencoder",
    config=AutoencoderConfig,
    settings=AutoencoderSettings,
    build=build,
    blocks=blocks,
    objectives={"reconstruct": Reconstruct},
    sampler=SAMPLER,
    log_prob=None,
    folder=Folder(save, load, recognises),
    cost=cost,
    inputs=("images",),
    tiny=tiny,
    codec=AutoencoderCodec,
    finish=measured,
    reconstructs=True,
)
