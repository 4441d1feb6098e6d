"""Nets of pictures beside diffusers: training steps of a DiT, a U-Net and an autoencoder, and drawing by the U-Net.

Ours is `train.step.train_step` as `makar train` runs it, and the engine as `makar generate` does. The peers are
`DiTTransformer2DModel`, `UNet2DModel` and `AutoencoderKL` in the loop that their users write, and `DDIMPipeline`. All
are shown the same pictures, which lie ready, and take steps in turn; what it takes to load such pictures from their
shards stands beside them as a share of our step, and what memory a step takes.
"""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks import steps
from benchmarks.steps import WAYS, Step
from makar.core.device import Precision, measure
from makar.core.nouns import Batch, Model, Request
from makar.core.say import silent
from makar.data.collect import collect
from makar.data.config import Augment, CollectOptions
from makar.data.dataset import Dataset
from makar.data.pixels import Pixels, kept_pixels
from makar.engine.run import Engine
from makar.families.autoencoder.config import AutoencoderConfig
from makar.families.autoencoder.family import FAMILY as AUTOENCODER
from makar.families.autoencoder.objective import Reconstruct
from makar.families.diffusion.config import DdpmPath, DiffusionConfig
from makar.families.diffusion.family import FAMILY as DIFFUSION
from makar.families.diffusion.objective import Denoise
from makar.families.diffusion.settings import DiffusionSettings
from makar.nets.autoencoder_config import AutoencoderNetConfig
from makar.nets.image_config import DiTConfig, UNetConfig

ROWS, CLASSES = 64, 10
DRAWN, STEPS = 16, 10
"""Pictures that are drawn at once, and in how many steps each."""
STORED, LOADED = 512, 200
"""Pictures that are loaded from, and how many batches."""

NETS = {
    "DiT, 28 px in patches of 2": DiTConfig(
        sample_size=28, in_channels=1, num_layers=6, num_attention_heads=4, attention_head_dim=48, num_classes=CLASSES
    ),
    "U-Net, 28 px": UNetConfig(
        sample_size=28, in_channels=1, num_classes=CLASSES, block_out_channels=(32, 64, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
    ),
}  # fmt: skip

SQUEEZER = "autoencoder, 32 px"
SQUEEZED = AutoencoderNetConfig(sample_size=32, block_out_channels=(32, 64), mid_block_add_attention=False)


def run(repeats: int = 5) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Turns that every way takes; each is at least one step and half a second.

    Returns:
        By net rows a second, the ratios of ours to the others, loading as a share of our step, and memory.
    """
    precision = measure().precision
    return {
        "precision": precision,
        **{f"training {name}": compare(name, precision, repeats) for name in (*NETS, SQUEEZER)},
        "drawing by the U-Net, picture steps": draw(repeats),
    }


def compare(name: str, precision: Precision, repeats: int) -> dict[str, Any]:
    """Training of one net: every way in turn."""
    torch.compiler.reset()
    make = partial(way_of, name, precision)
    found = steps.beside(name, {way: make(way) for way in WAYS}, ROWS, repeats)
    net = SQUEEZED if name == SQUEEZER else NETS[name]
    seconds = loading(net.in_channels, net.sample_size)
    return {
        "parameters": steps.parameters(fresh(name).net),
        **found,
        "loading_share": round(seconds * found["rows_per_second"]["makar"] / ROWS, 5),
        "peak_mib": steps.peaks(make, WAYS),
    }


def way_of(name: str, precision: Precision, way: str) -> Step:
    """What takes a step of one net in one way."""
    mine, spoken, compiled = steps.manner(way, precision)
    if name == SQUEEZER:
        rows = {"images": shown(3, SQUEEZED.sample_size)["images"]}
        objective = Reconstruct()
        peer = their_squeezer
    else:
        config = NETS[name]
        rows, objective = shown(config.in_channels, config.sample_size), Denoise()
        peer = partial(their_denoiser, config)
    if mine:
        return steps.ours(fresh(name), objective, rows, spoken, compiled=compiled)
    return peer(rows, spoken, compiled=compiled)


def fresh(name: str) -> Model[Any]:
    """Our model of a name."""
    if name == SQUEEZER:
        return steps.fresh(AUTOENCODER, AutoencoderConfig(net=SQUEEZED))
    return steps.fresh(DIFFUSION, DiffusionConfig(net=NETS[name], path=DdpmPath()))


def loading(channels: int, side: int) -> float:
    """Seconds that a step's rows take from pixel shards, mirrored at random."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        for number in range(STORED):
            pixels = rng.integers(0, 256, (side, side) if channels == 1 else (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
        options = CollectOptions.model_validate({"valid_fraction": 0.0, "pictures": {"near": 0}})
        collect([str(folder / "pictures")], folder / "set", options)
        depth = 1 if channels == 1 else 3
        shards = kept_pixels(Dataset.open(folder / "set"), "train", side, depth, say=silent)
        source = Pixels(shards, 0, Augment(flip=True))
        times: list[float] = []
        for step in range(LOADED):
            began = time.perf_counter()
            source.batch(step, ROWS)
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def shown(channels: int, side: int) -> Batch:
    """Noise in place of pictures, with labels."""
    images = torch.rand(ROWS, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {"images": images, "label": torch.arange(ROWS) % CLASSES}


def their_net(config: DiTConfig | UNetConfig) -> torch.nn.Module:
    """The peer's net of the same shape."""
    torch.manual_seed(0)
    fields = config.model_dump(exclude={"kind", "num_classes", "null_class"})
    if isinstance(config, UNetConfig):
        return diffusers.UNet2DModel(**fields, num_class_embeds=config.num_classes + 1)
    return diffusers.DiTTransformer2DModel(**fields, num_embeds_ada_norm=config.num_classes)


def their_denoiser(config: DiTConfig | UNetConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the peer on the noise, as its examples train."""
    images, label, schedule = rows["images"], rows["label"], diffusers.DDPMScheduler()

    def loss(net: Any) -> Tensor:
        noise, time = torch.randn_like(images), torch.randint(0, 1000, (ROWS,))
        said = net(schedule.add_noise(images, noise, time), time, class_labels=label, return_dict=False)[0]
        return F.mse_loss(said.float(), noise)

    return steps.theirs(their_net(config), loss, precision, compiled=compiled)


def their_squeezer(rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the peer on the absolute error and the divergence."""
    torch.manual_seed(0)
    stages, images = len(SQUEEZED.block_out_channels), rows["images"]
    kinds = {
        "down_block_types": ("DownEncoderBlock2D",) * stages,
        "up_block_types": ("UpDecoderBlock2D",) * stages,
    }
    bottleneck = SQUEEZED.bottleneck.model_dump(exclude={"kind"})
    net = diffusers.AutoencoderKL(**SQUEEZED.model_dump(exclude={"bottleneck"}), **kinds, **bottleneck)

    def loss(net: Any) -> Tensor:
        posterior = net.encode(images).latent_dist
        again = net.decode(posterior.sample()).sample
        return F.l1_loss(again.float(), images) + 1e-6 * posterior.kl().float().sum() / images.numel()

    if compiled:
        net.encode, net.decode = torch.compile(net.encode), torch.compile(net.decode)
    return steps.theirs(net, loss, precision)


def draw(repeats: int) -> dict[str, Any]:
    """Pictures without a label by DDIM in float32, by the engine and by the peer's pipeline."""
    config = NETS["U-Net, 28 px"].model_copy(update={"num_classes": 0})
    model = steps.fresh(DIFFUSION, DiffusionConfig(net=config, path=DdpmPath()))
    model.net.eval()
    settings = DiffusionSettings(sampler="ddim", steps=STEPS)
    requests = [Request("", seed, settings) for seed in range(DRAWN)]
    fields = config.model_dump(exclude={"kind", "num_classes", "null_class"})
    pipeline = diffusers.DDIMPipeline(diffusers.UNet2DModel(**fields).eval(), diffusers.DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    ways: dict[str, Step] = {
        "makar": lambda: list(Engine(model).generate(requests)),
        "peer_fp32": lambda: pipeline(batch_size=DRAWN, num_inference_steps=STEPS, output_type="np"),
    }
    return steps.beside("drawing", ways, DRAWN * STEPS, repeats)
