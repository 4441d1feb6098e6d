"""Training steps of a text-to-image transformer beside diffusers: the whole step, from told rows to changed weights.

Ours is `train.step.train_step` as `makar train scenes-t2i` runs it. The peer is `SD3Transformer2DModel` in the loop
that its users write: rectified flow, AdamW, clipping; in eager float32, in bfloat16 autocast, and with `torch.compile`.
All are shown the same pictures and the same vectors of texts, which the tower has said before. All take steps in turn.
"""

from itertools import count
from typing import Any

import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor

from benchmarks.training import Step, in_turn
from makar.core.device import Precision, measure
from makar.core.nouns import Batch, Model
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.objective import Denoise
from makar.nets.mmdit_config import MMDiTConfig
from makar.train.blocks import compile_blocks
from makar.train.config import Constant, Optimizer, TrainConfig
from makar.train.distributed import join
from makar.train.optim import make_player
from makar.train.step import Setting, train_step

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
    speeds = {way: ROWS / seconds for way, seconds in in_turn(name, ways, repeats).items()}
    return {
        "parameters": sum(parameter.numel() for parameter in FAMILY.build(config).parameters()),
        "pictures_per_second": {way: round(speed, 1) for way, speed in speeds.items()},
        "ratios": {way: round(speeds["makar"] / speed, 2) for way, speed in speeds.items() if way != "makar"},
    }


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
    torch.manual_seed(0)
    net = FAMILY.build(config).train()
    blocks = FAMILY.blocks(net)
    compile_blocks(blocks, on=compiled)
    train = TrainConfig(steps=10**6, batch_size=ROWS, optimizer=Optimizer(), schedule=Constant())
    player = make_player(net, "", blocks, train.optimizer, torch.bfloat16 if precision == "bf16" else torch.float32)
    setting, numbers = Setting(Model(FAMILY, config, net), Denoise(), [player], train, 0, join(), precision), count()

    def step() -> list[float]:
        _, vector = train_step(setting, rows, next(numbers), [])
        return vector.tolist()  # waits

    return step


def theirs(shape: MMDiTConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the peer, as its users write it."""
    torch.manual_seed(0)
    net = SD3Transformer2DModel(**shape.model_dump(exclude={"kind", "empty_tokens"})).train()
    forward = torch.compile(net) if compiled else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1, betas=(0.9, 0.95))

    def step() -> None:
        images = rows["images"]
        time, noise = torch.sigmoid(torch.randn(len(images))), torch.randn_like(images)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = flow_loss(forward, rows, time, noise, shape.empty_tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def flow_loss(net: Any, rows: Batch, time: Tensor, noise: Tensor, empty: int) -> Tensor:
    """The squared error of the velocity that the peer says."""
    images = rows["images"]
    share = time[:, None, None, None]
    tokens = torch.nn.functional.pad(rows["told"], (0, 0, 0, empty))
    said = net((1 - share) * images + share * noise, tokens, rows["pooled"], 1000 * time, return_dict=False)[0]
    return (said.float() - (noise - images)).square().mean()
