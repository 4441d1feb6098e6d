"""Training steps of a CLIP beside transformers' `CLIPModel`: the whole step, from rows to changed weights.

Ours is `train.step.train_step` as `makar train scenes-clip` runs it. The peer is `CLIPModel` in the loop that its
users write: its own loss, AdamW, clipping; in eager float32, in bfloat16 autocast, and with `torch.compile`. All are
shown the same pictures and the same captions, padded to the longest of the batch for the peer. All take steps in turn.
"""

from itertools import count
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

from benchmarks.training import Step, in_turn
from makar.core.device import Precision, measure
from makar.core.nouns import Batch, Model
from makar.families.clip.build import trimmed
from makar.families.clip.config import ClipConfig
from makar.families.clip.family import FAMILY
from makar.families.clip.objective import softmax
from makar.nets.clip_config import ClipTextConfig, ClipVisionConfig
from makar.train.blocks import compile_blocks
from makar.train.config import Constant, Optimizer, TrainConfig
from makar.train.distributed import join
from makar.train.optim import make_player
from makar.train.step import Setting, train_step

ROWS = 256
"""Of a step."""

SHAPES = {
    "32 px in patches of 8, 1.6M": ClipConfig(
        vision=ClipVisionConfig(hidden_size=128, num_hidden_layers=4, patch_size=8),
        text=ClipTextConfig(hidden_size=128, num_hidden_layers=3),
    ),
    "32 px in patches of 4, 4.8M": ClipConfig(
        vision=ClipVisionConfig(hidden_size=192, num_hidden_layers=6),
        text=ClipTextConfig(hidden_size=192, num_hidden_layers=4),
    ),
}


def run(repeats: int = 5) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Turns that every way takes; each is at least one step and half a second.

    Returns:
        By shape rows a second, and the ratios of ours to the others.
    """
    precision = measure().precision
    return {
        "precision": precision,
        **{name: compare(name, config, precision, repeats) for name, config in SHAPES.items()},
    }


def compare(name: str, config: ClipConfig, precision: Precision, repeats: int) -> dict[str, Any]:
    """One shape: every way in turn."""
    torch.compiler.reset()
    rows = told_rows(config)
    ways = {
        "makar": ours(config, rows, precision, compiled=True),
        "makar_eager_fp32": ours(config, rows, "fp32", compiled=False),
        "makar_eager_bf16": ours(config, rows, "bf16", compiled=False),
        "peer_fp32": theirs(config, rows, "fp32", compiled=False),
        "peer_bf16": theirs(config, rows, "bf16", compiled=False),
        "peer_bf16_compiled": theirs(config, rows, "bf16", compiled=True),
    }
    speeds = {way: ROWS / seconds for way, seconds in in_turn(name, ways, repeats).items()}
    return {
        "parameters": sum(parameter.numel() for parameter in FAMILY.build(config).parameters()),
        "rows_per_second": {way: round(speed, 1) for way, speed in speeds.items()},
        "ratios": {way: round(speeds["makar"] / speed, 2) for way, speed in speeds.items() if way != "makar"},
    }


def told_rows(config: ClipConfig) -> Batch:
    """Noise, and captions of 8 to 16 tokens, as those of scenes are."""
    random, text, side = torch.Generator().manual_seed(0), config.text, config.vision.image_size
    tokens = torch.randint(2, text.vocab_size, (ROWS, text.max_position_embeddings), generator=random)
    lengths = torch.randint(8, 17, (ROWS, 1), generator=random)
    tokens[torch.arange(tokens.shape[1]) >= lengths - 1] = text.eos_token_id
    tokens[:, 0] = text.bos_token_id
    return {"images": torch.rand(ROWS, 3, side, side, generator=random) * 2 - 1, "tokens": tokens}


def ours(config: ClipConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the trainer."""
    torch.manual_seed(0)
    net = FAMILY.build(config).train()
    blocks = FAMILY.blocks(net)
    compile_blocks(blocks, on=compiled)
    train = TrainConfig(steps=10**6, batch_size=ROWS, optimizer=Optimizer(), schedule=Constant())
    player = make_player(net, "", blocks, train.optimizer, torch.bfloat16 if precision == "bf16" else torch.float32)
    setting, numbers = Setting(Model(FAMILY, config, net), softmax(), [player], train, 0, join(), precision), count()

    def step() -> list[float]:
        _, vector = train_step(setting, rows, next(numbers), [])
        return vector.tolist()  # waits

    return step


def theirs(config: ClipConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the peer, as its users write it."""
    torch.manual_seed(0)
    towers = {"text_config": config.text.model_dump(), "vision_config": config.vision.model_dump()}
    net = CLIPModel(CLIPConfig(**towers, projection_dim=config.projection_dim)).train()
    forward = torch.compile(net) if compiled else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1, betas=(0.9, 0.95))
    tokens = trimmed(config, rows["tokens"])

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = forward(input_ids=tokens, pixel_values=rows["images"], return_loss=True).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step
