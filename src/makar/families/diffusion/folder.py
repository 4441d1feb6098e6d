"""A diffusion model on disk: a folder of diffusers.

Where diffusers has a pipeline that makes the model's pictures, the folder is that pipeline (model_index.json, unet/,
scheduler/); else it is the net (config.json and its weights), which diffusers opens as a model, beside scheduler/ where
there is one. A model of latents is a folder of parts (transformer/ or unet/, vae/, scheduler/), and a `DiTPipeline`
where that fits, or a `StableDiffusion3Pipeline` with its CLIP towers. Beside a net of pixels that reads lies its tower,
text_encoder/, and beside one that is shown something, in controlnet/, what looks at it. The lesser model that guides
is a net in guide/. Weights are float32 in safetensors; nothing is ever unpickled.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Family, LatentCodec, Model, Parts
from makar.families.diffusion.build import build
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.denoise import Net, config_of
from makar.families.diffusion.ecosystem import (
    NETS,
    NO_PIPELINE,
    PIPED_CLASSES,
    VERSION,
    config_from,
    control_from_ecosystem,
    control_to_ecosystem,
    latent_pipeline_of,
    net_to_ecosystem,
    pipeline_of,
    scheduler_of,
    text_pipeline_of,
)
from makar.families.diffusion.inversion import save_word
from makar.families.diffusion.towers import NAMES, read_towers, save_towers
from makar.families.diffusion.wish import guide_of
from makar.families.weights import read_weights, restored, write_weights
from makar.nets.image_config import UNetConfig
from makar.nets.mmdit_control import Controlled

CONTROL = "controlnet"
"""The folder of what is shown something, as diffusers' pipelines call it."""

GUIDE = "guide"
"""The folder of the lesser model that guides."""

GENERATION = "generation.json"
"""Defaults of generation in an adapter's folder; a whole model has them in its net's config."""

LABELS = "class_embedder.embedding_table.weight"
"""How the names of tables of labels end."""


def save(model: Model[Net], folder: Path) -> None:
    """Write a model into an existing empty folder."""
    config, codec = config_of(model), model.parts.get("codec")
    save_guide(model, folder)
    if codec is not None:
        save_latent(model, codec, folder)
        return
    pipeline, scheduler = pipeline_of(config), scheduler_of(config)
    place = folder / "unet" if pipeline else folder
    place.mkdir(exist_ok=True)
    write_json(place / "config.json", net_to_ecosystem(config, model.generation))
    write_weights(save_control(model, folder), place)
    save_scheduler(scheduler, folder)
    if "text" in model.parts:
        save_towers(model.parts["text"], folder, piped=False)
        save_word(model, folder)
    if pipeline and scheduler is not None:
        parts = {"scheduler": ["diffusers", scheduler["_class_name"]], "unet": ["diffusers", "UNet2DModel"]}
        write_json(folder / "model_index.json", {"_class_name": pipeline, "_diffusers_version": VERSION, **parts})


def save_control(model: Model[Net], folder: Path) -> dict[str, Tensor]:
    """Write the copy of the net's first blocks that is shown something, where there is one.

    Returns:
        The weights of the net itself.
    """
    if not isinstance(model.net, Controlled):
        return model.net.state_dict()
    (folder / CONTROL).mkdir()
    write_json(folder / CONTROL / "config.json", control_to_ecosystem(model.net.config))
    write_weights(model.net.control.state_dict(), folder / CONTROL)
    return model.net.transformer.state_dict()


def save_guide(model: Model[Net], folder: Path) -> None:
    """Write the lesser model that guides, where there is one: its net alone, for it is told what the model is told."""
    if (guide := guide_of(model)) is not None:
        (folder / GUIDE).mkdir()
        save(replace(guide, parts={}, generation={}), folder / GUIDE)


def read_guide(folder: Path) -> dict[str, Model[Net]]:
    """Read what `save_guide` wrote, as the part that it is; empty where there is none."""
    if not (place := folder / GUIDE).exists():
        return {}
    from makar.families.diffusion.family import FAMILY

    return {"guide": FAMILY.folder.load(place)}


def save_beside(model: Model[Net], folder: Path) -> None:
    """Write what an adapter's folder holds beside its weights: the guide and the defaults of generation."""
    save_guide(model, folder)
    if model.generation:
        write_json(folder / GENERATION, dict(model.generation))


def read_beside(folder: Path, config: Any) -> Parts:  # noqa: ARG001
    """Read what `save_beside` wrote, as far as it is there."""
    return read_guide(folder), read_object(folder / GENERATION) if (folder / GENERATION).exists() else {}


def save_scheduler(scheduler: Mapping[str, Any] | None, folder: Path) -> None:
    """Write the scheduler, where there is one."""
    if scheduler is not None:
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", scheduler)


def save_latent(model: Model[Net], codec: LatentCodec, folder: Path) -> None:
    """Write a model of latents: its net, its codec and its scheduler in folders of their own, and what they are.

    `DiTPipeline` takes 1000 for the label that stands for none, so in its folder the tables of labels are that long.
    """
    config, text = config_of(model), model.parts.get("text")
    (folder / "vae").mkdir()
    codec.save(folder / "vae")
    vae = read_object(folder / "vae" / "config.json")
    scheduler = scheduler_of(config, latent=True)
    pipeline = text_pipeline_of(config, vae) if text else latent_pipeline_of(config, vae)
    part = "unet" if isinstance(config.net, UNetConfig) else "transformer"
    net = net_to_ecosystem(config, model.generation)
    weights = save_control(model, folder)
    if pipeline and not text:
        net, weights = {**net, "num_embeds_ada_norm": PIPED_CLASSES}, widened(weights)
    (folder / part).mkdir()
    write_json(folder / part / "config.json", net)
    write_weights(weights, folder / part)
    save_scheduler(scheduler, folder)
    kind = ("diffusers", vae["_class_name"]) if "_class_name" in vae else ("makar", vae["model_type"])
    parts: dict[str, Any] = {part: ("diffusers", net["_class_name"]), "vae": kind}
    parts |= {"scheduler": ("diffusers", scheduler["_class_name"])} if scheduler else {}
    if text:
        save_towers(text, folder)
        save_word(model, folder)
        parts |= NAMES
        parts |= {"controlnet": ("diffusers", "SD3ControlNetModel")} if isinstance(model.net, Controlled) else {}
    labels = {"id2label": {str(place): name for place, name in enumerate(config.classes)}} if config.classes else {}
    index = {"_class_name": pipeline or NO_PIPELINE, "_diffusers_version": VERSION, **(labels if pipeline else {})}
    write_json(folder / "model_index.json", index | dict(sorted(parts.items())))


def widened(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights whose tables of labels have room for a thousand; the labels that there are not stand for none."""
    found = dict(weights)
    for name, table in weights.items():
        if name.endswith(LABELS):
            none = table[-1:].expand(PIPED_CLASSES + 1 - len(table) + 1, -1)
            found[name] = torch.cat((table[:-1], none))
    return found


def narrowed(weights: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Weights whose tables have the labels that there are, and the one that stands for none."""
    longer = {name: table for name, table in weights.items() if name.endswith(LABELS) and len(table) > count + 1}
    return {**weights, **{name: torch.cat((table[:count], table[-1:])) for name, table in longer.items()}}


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
        ModelError: A file is missing, damaged or does not fit the others.
    """
    place = net_place(folder)
    found, scheduler = read_object(place / "config.json"), folder / "scheduler" / "scheduler_config.json"
    config = config_from(found, read_object(scheduler) if scheduler.exists() else {}, place / "config.json")
    own = found.get("_makar")
    generation = own.get("generation", {}) if isinstance(own, dict) else {}
    weights = narrowed(read_weights(place), config.net.num_classes)
    if (control := folder / CONTROL / "config.json").exists():
        shape = control_from_ecosystem(read_object(control), config.net, control)
        config = config.model_copy(update={"net": shape})
        weights = {f"transformer.{name}": tensor for name, tensor in weights.items()}
        weights |= {f"control.{name}": tensor for name, tensor in read_weights(folder / CONTROL).items()}
    parts: dict[str, Any] = {"codec": codec_in(folder / "vae")} if (folder / "vae").exists() else {}
    if (text := read_towers(folder)) is not None:
        parts["text"] = text
    parts |= read_guide(folder)
    return config, restored(lambda: build(config), weights, place), parts, generation


def codec_in(folder: Path) -> LatentCodec:
    """The codec that lies beside a net.

    Raises:
        ModelError: It is of another kind than makar's, or damaged.
    """
    for family in codecs():
        if family.folder.recognises(folder) and family.codec is not None:
            codec = family.codec(family.folder.load(folder))
            assert isinstance(codec, LatentCodec)
            return codec
    fix = "open a pipeline with an AutoencoderKL or a VQModel"
    raise ModelError("this pipeline's codec is of another kind than makar's", where=folder, fix=fix)


def codecs() -> tuple[Family[Any], ...]:
    """The families whose models are codecs of latents."""
    from makar.families.autoencoder.family import FAMILY as AUTOENCODER
    from makar.families.vae.family import FAMILY as VAE

    return AUTOENCODER, VAE
