"""Memory and disk of a run, by arithmetic over its config."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from makar.align.config import ROWS, UNCOMPARED
from makar.core.config import Config
from makar.core.device import Machine, Precision, memory, memory_available
from makar.core.nouns import Cost, Family
from makar.nets.cross_entropy import CHUNK
from makar.nets.decoder import Decoder
from makar.nets.lora_config import LoraConfig
from makar.recipes.adapting import adapt
from makar.recipes.recipe import Recipe
from makar.train.checkpoint import KEPT
from makar.train.config import TrainConfig
from makar.train.ema import SNAPSHOTS

BF16_KEPT = 0.71
"""What autocast keeps for backward, of what fp32 keeps; measured over saved tensors."""

COMPILED_KEPT = 0.75
"""What compiled blocks keep of that, the compiler's own memory counted in; measured."""

RETAINED = 1.45
"""What the C library's allocator holds beside the tensors kept; measured, 1.35 to 1.6."""

WORKSPACE = 100_000_000
"""Bytes that torch's matrix products use for themselves; measured."""

LOGITS = 3
"""Chunks of logits that the loss holds at once: a product, its log-probabilities, and those of the chunk before."""

INPUT_SHARE = 0.05
"""Of a block's activations: its input, which activation checkpointing keeps."""

LINE_BYTES = 400
"""Of a line of the metrics file."""


def skeleton(made: Family[Any], config: Config, adapter: LoraConfig | None = None) -> nn.Module:
    """The net, and the adapter that may be trained beside it, without memory behind them."""
    with torch.device("meta"):
        net = made.build(config)
        adapt(net, made.blocks(net), adapter)
    return net


def memory_needed(
    made: Family[Any], config: Config, recipe: Recipe, cost: Cost, precision: Precision
) -> dict[str, int]:
    """Bytes at the peak of one process, by what they are for: arithmetic, checked against real runs in the tests."""
    net, train = skeleton(made, config, recipe.adapter), recipe.train
    blocks = list(made.blocks(net))
    weights, trained = (4 * sum(p.numel() for p in net.parameters() if p.requires_grad or both) for both in (1, 0))
    repeated = 4 * sum(p.numel() for block in blocks for p in block.parameters() if p.ndim == 2)
    optimizer = 2 * trained - (repeated if train.optimizer.name == "muon" else 0)
    average = trained * train.averages
    rows = min(train.micro_batch_size or train.batch_size, train.batch_size)
    half = precision == "bf16"
    kept = cost.activations * (BF16_KEPT if half else 1)
    masked = recipe.data.documents and "tokens" in made.inputs
    masks = len(blocks) * recipe.data.length**2 * (2 if half else 4) if masked else 0
    if train.recompute:
        kept, masks = kept * (INPUT_SHARE + 1 / max(1, len(blocks))), masks / max(1, len(blocks))
    if train.compile == "on":  # "auto" begins in eager mode
        kept, masks = kept * COMPILED_KEPT, masks * COMPILED_KEPT
    activations = int(rows * (kept + masks) * RETAINED) + (weights // 2 if half else 0)
    decoders = [part for part in net.modules() if isinstance(part, Decoder)]
    return {
        "process": process_memory() + WORKSPACE,
        "weights": weights,
        "optimizer": optimizer,
        "average": average,
        "gradients": trained,
        "activations": activations,
        "loss": sum(map(loss_memory, decoders)),
        "reader": sum(map(reader_memory, decoders)),
        "reference": weights if compares(recipe) else 0,
    }


def loss_memory(decoder: Decoder) -> int:
    """Bytes that the loss takes for the vocabulary, however many rows there are."""
    weight = decoder.output_weight
    product = weight.nbytes if weight.requires_grad else 0  # one chunk's gradient of the matrix, before it is added
    return 4 * LOGITS * CHUNK * len(weight) + product


def reader_memory(decoder: Decoder) -> int:
    """Bytes of the copy of the weights that samples are read with, which stays until the next one."""
    layers = sum(part.weight.nbytes for part in decoder.model.modules() if isinstance(part, nn.Linear))
    return layers + decoder.output_weight.nbytes


def compares(recipe: Recipe) -> bool:
    """Whether a frozen copy of the beginning stands beside the model; an adapter needs none."""
    name = recipe.objective.name or ""
    looks = bool(recipe.reward)  # at what the beginning makes, whatever the objective compares
    return name in ROWS and (looks or name not in UNCOMPARED) and recipe.adapter is None


@cache
def process_memory() -> int:
    """Bytes that this process holds before it trains: Python, torch and what else is imported."""
    return resident()


def resident() -> int:
    """Bytes of the host's memory that this process holds now."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no /proc: as measured on Linux
        return 300_000_000


def memory_free(machine: Machine) -> int:
    """Bytes that this process could have: the device's memory, of the host what is available to us already included."""
    free = memory_available(machine.device)
    return free if machine.device == "cuda" else min(memory(machine.device), free + resident())


def disk_needed(train: TrainConfig, memory: Mapping[str, int]) -> dict[str, int]:
    """Bytes that the run folder will hold at most: checkpoints while a new one is written, the model, the logs."""
    trained = memory["gradients"]  # a gradient is as large as what it is for
    one = trained + memory["optimizer"] + memory["average"]
    lines = train.steps // train.log_every * LINE_BYTES
    averages = memory["average"] * SNAPSHOTS if train.ema_lengths else 0
    return {"checkpoints": one * (KEPT + 2), "averages": averages, "model": 2 * trained, "logs": lines}
