"""The record of the variational autoencoders."""

from pathlib import Path

from makar.core.config import Config
from makar.core.nouns import Family, Folder, Model, Source
from makar.data.table import TensorSource
from makar.families.pictures import stripes
from makar.families.vae.bound import ImportanceBound
from makar.families.vae.build import blocks, build
from makar.families.vae.codec import VaeCodec
from makar.families.vae.config import VaeConfig
from makar.families.vae.cost import cost
from makar.families.vae.folder import read, recognises, save
from makar.families.vae.found import finish
from makar.families.vae.net import Vae
from makar.families.vae.objective import Elbo, Iwae
from makar.families.vae.sample import SAMPLER
from makar.families.vae.settings import VaeSettings
from makar.nets.vae_config import MlpVaeConfig


def load(folder: Path) -> Model[Vae]:
    """Open a folder as a model of this family."""
    return Model(FAMILY, *read(folder))


def tiny() -> tuple[Config, Source]:
    """Stripes."""
    config = VaeConfig(net=MlpVaeConfig(sample_size=8, hidden_sizes=(32,), latent_size=4), likelihood="bernoulli")
    return config, TensorSource({"images": stripes()["images"]}, seed=0)


FAMILY = Family(
    name="vae",
    config=VaeConfig,
    settings=VaeSettings,
    build=build,
    blocks=blocks,
    objectives={"elbo": Elbo, "iwae": Iwae},
    sampler=SAMPLER,
    log_prob=ImportanceBound(),
    folder=Folder(save, load, recognises),
    cost=cost,
    inputs=("images",),
    tiny=tiny,
    codec=VaeCodec,
    finish=finish,
    reconstructs=True,
)
