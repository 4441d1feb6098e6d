"""The record of the GAN family."""

from pathlib import Path

from makar.core.config import Config
from makar.core.nouns import Family, Folder, Model, Source
from makar.data.table import TensorSource
from makar.families.gan.build import Gan, blocks
from makar.families.gan.config import GanConfig
from makar.families.gan.cost import cost
from makar.families.gan.folder import read, recognises, save
from makar.families.gan.objective import Relativistic
from makar.families.gan.sample import SAMPLER
from makar.families.gan.settings import GanSettings
from makar.families.pictures import stripes
from makar.nets.gan_config import R3ganConfig


def load(folder: Path) -> Model[Gan]:
    """Open a folder as a model of this family."""
    return Model(FAMILY, *read(folder))


def tiny() -> tuple[Config, Source]:
    """Stripes of two classes."""
    net = R3ganConfig(
        sample_size=8, in_channels=1, num_classes=2, block_out_channels=(16, 16), layers_per_block=1, group_width=8,
        latent_size=8,
    )  # fmt: skip
    return GanConfig(net=net), TensorSource(stripes(), seed=0)


FAMILY = Family(
    name="gan",
    config=GanConfig,
    settings=GanSettings,
    build=Gan,
    blocks=blocks,
    objectives={"relativistic": Relativistic},
    sampler=SAMPLER,
    log_prob=None,
    folder=Folder(save, load, recognises),
    cost=cost,
    inputs=("images",),
    tiny=tiny,
)
