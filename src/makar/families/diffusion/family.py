"""The record of the diffusion family."""

from pathlib import Path

from makar.core.config import Config
from makar.core.nouns import Family, Folder, Model, Source
from makar.data.table import TensorSource
from makar.families.diffusion.build import blocks, build
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.consistency import Consistency
from makar.families.diffusion.cost import cost
from makar.families.diffusion.denoise import Net
from makar.families.diffusion.folder import read, read_beside, recognises, save, save_beside
from makar.families.diffusion.inversion import settled
from makar.families.diffusion.objective import Denoise, DenoisingScore
from makar.families.diffusion.sample import SAMPLER
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.pictures import stripes
from makar.nets.image_config import UNetConfig


def load(folder: Path) -> Model[Net]:
    """Open a folder as a model of this family."""
    return Model(FAMILY, *read(folder))


def tiny() -> tuple[Config, Source]:
    """Stripes of two classes."""
    net = UNetConfig(
        sample_size=8, in_channels=1, block_out_channels=(16,), down_block_types=("DownBlock2D",), layers_per_block=1,
        add_attention=False, num_classes=2,
    )  # fmt: skip
    return DiffusionConfig(net=net), TensorSource(stripes(), seed=0)


FAMILY = Family(
    name="diffusion",
    config=DiffusionConfig,
    settings=DiffusionSettings,
    build=build,
    blocks=blocks,
    objectives={"denoise": Denoise, "consistency": Consistency},
    sampler=SAMPLER,
    log_prob=DenoisingScore(),
    folder=Folder(save, load, recognises, save_beside, read_beside),
    cost=cost,
    inputs=("images",),
    tiny=tiny,
    finish=settled,
)
