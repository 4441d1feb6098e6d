"""Training steps of a CLIP beside transformers' `CLIPModel`: the whole step, from rows to changed weights.

Ours is `train.step.train_step` as `makar train scenes-clip` runs it. The peer is `CLIPModel` in the loop that its
users write: its own loss, AdamW, clipping; in eager float32, in bfloat16 autocast, and with `torch.compile`. All are
shown the same pictures and the same captions, padded to the longest of the batch for the peer. All take steps in turn.
"""

from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

from benchmarks import steps
from benchmarks.steps import Step
from makar.core.device import Precision, measure
from makar.core.nouns import Batch
from makar.families.clip.build import trimmed
from makar.families.clip.config import ClipConfig
from makar.families.clip.family import FAMILY
from makar.families.clip.objective import softmax
from makar.nets.clip_config import ClipTextConfig, ClipVisionConfig

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
    parameters = steps.parameters(FAMILY.build(config))
    return {"parameters": parameters, **steps.beside(name, ways, ROWS, repeats)}


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
    return steps.ours(steps.fresh(FAMILY, config), softmax(), rows, precision, compiled=compiled)


def theirs(config: ClipConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the peer, by its own loss."""
    torch.manual_seed(0)
    towers = {"text_config": config.text.model_dump(), "vision_config": config.vision.model_dump()}
    shown = {"input_ids": trimmed(config, rows["tokens"]), "pixel_values": rows["images"], "return_loss": True}
    net = CLIPModel(CLIPConfig(**towers, projection_dim=config.projection_dim))
    return steps.theirs(net, lambda net: net(**shown).loss, precision, compiled=compiled)
