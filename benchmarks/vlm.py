"""A model that sees and talks beside transformers' `LlavaForConditionalGeneration`: training, and reading prompts.

Ours is `train.step.train_step` as `makar train scenes-vlm` runs its second stage, and a prompt read into a cache. The
peer is in the loop that its users write: its own loss, AdamW, clipping; in eager float32, in bfloat16 autocast, and
compiled. All see the same rows: a picture, words behind it, and one token in ten to learn. All take steps in turn.
"""

from typing import Any

import torch
from transformers import LlavaConfig as PeerConfig
from transformers import LlavaForConditionalGeneration

from benchmarks import steps
from benchmarks.steps import Step
from makar.core.device import Precision, measure
from makar.core.nouns import Batch
from makar.families.llava.config import LlavaConfig
from makar.families.llava.ecosystem import to_ecosystem
from makar.families.llava.family import FAMILY
from makar.families.llava.objective import NextTokenSeen
from makar.nets.cache import Cache

ROWS, LENGTH, LEARNED = 32, 112, 0.1
"""Of a step; tokens of a row, those of its picture among them; share of them that is learned."""

ASKED, WORDS = 16, 20
"""Prompts that are read at once, and their words behind the picture."""

SHAPES = {
    "patches of 8, 1.8M": LlavaConfig.model_validate({
        "vision": {"hidden_size": 128, "num_hidden_layers": 4, "patch_size": 8},
        "text": {"vocab_size": 1024, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4},
    }),
    "patches of 4, 8M": LlavaConfig.model_validate({
        "vision": {"hidden_size": 192, "num_hidden_layers": 6},
        "text": {"vocab_size": 1024, "hidden_size": 256, "num_hidden_layers": 6},
    }),
}  # fmt: skip


def run(repeats: int = 5) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Turns that every way takes; each is at least one step and half a second.

    Returns:
        By shape rows a second in training and in reading prompts, and the ratios of ours to the others.
    """
    precision = measure().precision
    return {
        "precision": precision,
        **{name: compare(name, config, precision, repeats) for name, config in SHAPES.items()},
    }


def compare(name: str, config: LlavaConfig, precision: Precision, repeats: int) -> dict[str, Any]:
    """One shape: every way in turn."""
    torch.compiler.reset()
    rows, asked = seen_rows(config, ROWS, LENGTH), seen_rows(config, ASKED, config.places + WORDS)
    training = {
        "makar": ours(config, rows, precision, compiled=True),
        "makar_eager_fp32": ours(config, rows, "fp32", compiled=False),
        "peer_fp32": theirs(config, rows, "fp32", compiled=False),
        "peer_bf16": theirs(config, rows, "bf16", compiled=False),
        "peer_bf16_compiled": theirs(config, rows, "bf16", compiled=True),
    }
    reading = {"makar": our_reading(config, asked), "peer_fp32": their_reading(config, asked)}
    return {
        "parameters": steps.parameters(FAMILY.build(config)),
        "training": steps.beside(f"{name}, training", training, ROWS, repeats),
        "reading": steps.beside(f"{name}, reading prompts", reading, ASKED, repeats),
    }


def seen_rows(config: LlavaConfig, rows: int, length: int) -> Batch:
    """Noise: a picture in front of each row's words."""
    random, side = torch.Generator().manual_seed(0), config.vision.image_size
    tokens = torch.randint(config.image_token_index + 1, config.vocab_size, (rows, length + 1), generator=random)
    tokens[:, : config.places] = config.image_token_index
    mask = torch.rand(tokens.shape, generator=random) < LEARNED
    mask[:, : config.places] = False
    return {"tokens": tokens, "loss_mask": mask, "images": torch.randn(rows, 1, 3, side, side, generator=random)}


def ours(config: LlavaConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the trainer."""
    return steps.ours(steps.fresh(FAMILY, config), NextTokenSeen(), rows, precision, compiled=compiled)


def peer(config: LlavaConfig) -> LlavaForConditionalGeneration:
    """The peer with fresh weights."""
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(PeerConfig.from_dict(to_ecosystem(config)))


def theirs(config: LlavaConfig, rows: Batch, precision: Precision, *, compiled: bool) -> Step:
    """A step of the peer, by its own loss."""
    labels = rows["tokens"].where(rows["loss_mask"], -100)[:, :-1]
    shown = {"input_ids": rows["tokens"][:, :-1], "pixel_values": rows["images"][:, 0], "labels": labels}
    return steps.theirs(peer(config), lambda net: net(**shown).loss, precision, compiled=compiled)


def our_reading(config: LlavaConfig, rows: Batch) -> Step:
    """Pictures and prompts into a cache, as the sampler reads them, and the logits behind each."""
    torch.manual_seed(0)
    net = FAMILY.build(config).eval()
    tokens, images = rows["tokens"], rows["images"][:, 0]

    def step() -> list[float]:
        with torch.no_grad():
            cache = Cache.empty(config.text, len(tokens), tokens.shape[1] + 1, torch.float32)
            hidden = net.hidden(tokens, images, cache=cache.upto(tokens.shape[1]))[:, -1]
            return (hidden @ net.language_model.output_weight.T)[:, 0].tolist()

    return step


def their_reading(config: LlavaConfig, rows: Batch) -> Step:
    """The same by the peer, which is told to keep the last logits alone."""
    net = peer(config).eval()
    tokens, images = rows["tokens"], rows["images"][:, 0]

    def step() -> list[float]:
        with torch.no_grad():
            found = net(input_ids=tokens, pixel_values=images, use_cache=True, logits_to_keep=1)
            return found.logits[:, -1, 0].tolist()

    return step
