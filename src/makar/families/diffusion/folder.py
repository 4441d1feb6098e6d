"""A diffusion model on disk: a folder of diffusers.

Where diffusers has a pipeline that makes the model's pictures, the folder is that pipeline (model_index.json, unet/,
scheduler/); else it is the net (config.json and its weights), which diffusers opens as a model, beside scheduler/ where
there is one. Weights are float32 in safetensors; nothing is ever unpickled.
"""

from pathlib import Path
from typing import Any

from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.families.diffusion.build import build
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.denoise import Net, config_of
from makar.families.diffusion.ecosystem import (
    NETS,
    VERSION,
    config_from,
    net_to_ecosystem,
    pipeline_of,
    scheduler_of,
)
from makar.families.weights import read_weights, restored, write_weights


def save(model: Model[Net], folder: Path) -> None:
    """Write a model into an existing empty folder."""
    config = config_of(model)
    pipeline, scheduler = pipeline_of(config), scheduler_of(config)
    place = folder / "unet" if pipeline else folder
    place.mkdir(exist_ok=True)
    write_json(place / "config.json", net_to_ecosystem(config, model.generation))
    write_weights(model.net.state_dict(), place)
    if scheduler is not None:
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    if pipeline and scheduler is not None:
        parts = {"scheduler": ["diffusers", scheduler["_class_name"]], "unet": ["diffusers", "UNet2DModel"]}
        write_json(folder / "model_index.json", {"_class_name": pipeline, "_diffusers_version": VERSION, **parts})


def net_place(folder: Path) -> Path:
    """Where in a folder the net lies: in the folder itself, or in a pipeline's part."""
    if (folder / "config.json").exists():
        return folder
    return folder / ("transformer" if (folder / "transformer" / "config.json").exists() else "unet")


def recognises(folder: Path) -> bool:
    """Whether the folder holds a net of this family, with a VAE beside it or without."""
    try:
        return read_object(net_place(folder) / "config.json").get("_class_name") in NETS
    except ModelError:
        return False


def read(folder: Path) -> tuple[DiffusionConfig, Net, dict[str, Any], dict[str, Any]]:
    """Read a model's config, net, parts and generation defaults.

    Raises:
        ModelError: A file is missing, damaged or does not fit the others, or the pipeline needs a VAE.
    """
    if (folder / "vae").exists():
        raise ModelError(
            "this pipeline works on a VAE's codes, not on pixels", where=folder, fix="open a pipeline without vae/"
        )
    place = net_place(folder)
    found, scheduler = read_object(place / "config.json"), folder / "scheduler" / "scheduler_config.json"
    config = config_from(found, read_object(scheduler) if scheduler.exists() else {}, place / "config.json")
    own = found.get("_makar")
    generation = own.get("generation", {}) if isinstance(own, dict) else {}
    return config, restored(lambda: build(config), read_weights(place), place), {}, generation
