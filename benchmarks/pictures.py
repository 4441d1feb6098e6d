"""Nets of pictures beside diffusers: training steps of a DiT, a U-Net and an autoencoder, and drawing by the U-Net.

Ours is `train.step.train_step` as `makar train` runs it, and the engine as `makar generate` does. The peers are
`DiTTransformer2DModel`, `UNet2DModel` and `AutoencoderKL` in the loop that their users write, and `DDIMPipeline`. All
are shown the same pictures and take steps in turn.
"""

from typing import Any

import diffusers
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import steps
from benchmarks.steps import Step
from makar.core.device import Precision, measure
from makar.core.nouns import Batch, Request
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

NETS = {
    "DiT, 28 px in patches of 2": DiTConfig(
        sample_size=28, in_channels=1, num_layers=6, num_attention_heads=4, attention_head_dim=48, num_classes=CLASSES
    ),
    "U-Net, 28 px": UNetConfig(
        sample_size=28, in_channels=1, num_classes=CLASSES, block_out_channels=(32, 64, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
    ),
}  # fmt: skip

SQUEEZED = AutoencoderNetConfig(sample_size=32, block_out_channels=(32, 64), mid_block_add_attention=False)


def run(repeats: int = 5) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Turns that every way takes; each is at least one step and half a second.

    Returns:
        By net rows a second, and the ratios of ours to the others.
    """
    precision = measure().precision
    found = {f"training {name}": compare(name, config, precision, repeats) for name, config in NETS.items()}
    return {
        "precision": precision,
        **found,
        "training autoencoder, 32 px": squeeze(precision, repeats),
        "drawing by the U-Net, picture steps": draw(repeats),
    }


def compare(name: str, config: DiTConfig | UNetConfig, precision: Precision, repeats: int) -> dict[str, Any]:
    """Training of one denoiser: every way in turn."""
    torch.compiler.reset()
    whole, rows = DiffusionConfig(net=config, path=DdpmPath()), shown(config.in_channels, config.sample_size)
    ways = {
        "makar": denoiser(whole, rows, precision, compiled=True),
        "makar_eager": denoiser(whole, rows, precision, compiled=False),
        "peer_fp32": their_denoiser(config, rows, "fp32", compiled=False),
        "peer_bf16": their_denoiser(config, rows, "bf16", compiled=False),
        "peer_bf16_compiled": their_denoiser(config, rows, "bf16", compiled=True),
    }
    parameters = steps.parameters(DIFFUSION.build(whole))
    return {"parameters": parameters, **steps.beside(name, ways, ROWS, repeats)}


def shown(channels: int, side: int) -> Batch:
    """Noise in place of pictures, with labels."""
    images = torch.rand(ROWS, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {"images": images, "label": torch.arange(ROWS) % CLASSES}


def denoiser(config: DiffusionConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the trainer."""
    return steps.ours(steps.fresh(DIFFUSION, config), Denoise(), rows, precision, compiled=compiled)


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


def squeeze(precision: Precision, repeats: int) -> dict[str, Any]:
    """Training of the autoencoder of latent diffusion: every way in turn."""
    torch.compiler.reset()
    config, rows = AutoencoderConfig(net=SQUEEZED), {"images": shown(3, SQUEEZED.sample_size)["images"]}
    ways = {
        "makar": squeezer(config, rows, precision, compiled=True),
        "makar_eager": squeezer(config, rows, precision, compiled=False),
        "peer_fp32": their_squeezer(rows, "fp32", compiled=False),
        "peer_bf16": their_squeezer(rows, "bf16", compiled=False),
        "peer_bf16_compiled": their_squeezer(rows, "bf16", compiled=True),
    }
    parameters = steps.parameters(AUTOENCODER.build(config))
    return {"parameters": parameters, **steps.beside("autoencoder", ways, ROWS, repeats)}


def squeezer(config: AutoencoderConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the trainer."""
    return steps.ours(steps.fresh(AUTOENCODER, config), Reconstruct(), rows, precision, compiled=compiled)


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
