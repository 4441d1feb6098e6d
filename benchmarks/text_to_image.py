"""Training steps of a text-to-image transformer beside diffusers: the whole step, from told rows to changed weights.

Ours is `train.step.train_step` as `makar train scenes-t2i` runs it. The peer is `SD3Transformer2DModel` in the loop
that its users write: rectified flow, AdamW, clipping; in eager float32, in bfloat16 autocast, and with `torch.compile`.
All are shown the same pictures and the same vectors of texts, which the tower has said before. All take steps in turn.
"""

from typing import Any

import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor

from benchmarks import steps
from benchmarks.steps import Step
from makar.core.device import Precision, measure
from makar.core.nouns import Batch
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.objective import Denoise
from makar.nets.mmdit_config import MMDiTConfig

ROWS, LENGTH = 64, 24
"""Of a step, and tokens of a text."""

SHAPES = {
    "32 px, 10M": MMDiTConfig(
        sample_size=32, patch_size=4, num_layers=8, num_attention_heads=4, attention_head_dim=48, empty_tokens=0,
        qk_norm="rms_norm",
    ),
    "latents 8x8x16, 256 empty tokens": MMDiTConfig(
        sample_size=8, in_channels=16, patch_size=1, num_layers=6, num_attention_heads=4, attention_head_dim=48,
    ),
}  # fmt: skip


def run(repeats: int = 5) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Turns that every way takes; each is at least one step and half a second.

    Returns:
        By shape pictures a second, and the ratios of ours to the others.
    """
    precision = measure().precision
    return {
        "precision": precision,
        **{name: compare(name, shape, precision, repeats) for name, shape in SHAPES.items()},
    }


def compare(name: str, shape: MMDiTConfig, precision: Precision, repeats: int) -> dict[str, Any]:
    """One shape: every way in turn."""
    torch.compiler.reset()
    config, rows = DiffusionConfig(net=shape), told_rows(shape)
    ways = {
        "makar": ours(config, rows, precision, compiled=True),
        "makar_eager": ours(config, rows, precision, compiled=False),
        "peer_fp32": theirs(shape, rows, "fp32", compiled=False),
        "peer_bf16": theirs(shape, rows, "bf16", compiled=False),
        "peer_bf16_compiled": theirs(shape, rows, "bf16", compiled=True),
    }
    parameters = steps.parameters(FAMILY.build(config))
    return {"parameters": parameters, **steps.beside(name, ways, ROWS, repeats)}


def told_rows(shape: MMDiTConfig) -> Batch:
    """Pictures, and what the net is told of them."""
    random, side = torch.Generator().manual_seed(0), shape.sample_size
    return {
        "images": torch.randn(ROWS, shape.in_channels, side, side, generator=random),
        "told": torch.randn(ROWS, LENGTH, shape.joint_attention_dim, generator=random),
        "pooled": torch.randn(ROWS, shape.pooled_projection_dim, generator=random),
    }


def ours(config: DiffusionConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the trainer."""
    return steps.ours(steps.fresh(FAMILY, config), Denoise(), rows, precision, compiled=compiled)


def theirs(shape: MMDiTConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the peer on rectified flow."""
    torch.manual_seed(0)
    net = SD3Transformer2DModel(**shape.model_dump(exclude={"kind", "empty_tokens"}))

    def loss(net: Any) -> Tensor:
        time, noise = torch.sigmoid(torch.randn(ROWS)), torch.randn_like(rows["images"])
        return flow_loss(net, rows, time, noise, shape.empty_tokens)

    return steps.theirs(net, loss, precision, compiled=compiled)


def flow_loss(net: Any, rows: Batch, time: Tensor, noise: Tensor, empty: int) -> Tensor:
    """The squared error of the velocity that the peer says."""
    images = rows["images"]
    share = time[:, None, None, None]
    tokens = torch.nn.functional.pad(rows["told"], (0, 0, 0, empty))
    said = net((1 - share) * images + share * noise, tokens, rows["pooled"], 1000 * time, return_dict=False)[0]
    return (said.float() - (noise - images)).square().mean()
