"""Training steps of 2,048 tokens beside `transformers`: the whole step, from the batch to the changed weights.

Ours is `train.step.train_step` as `makar train` runs it, blocks compiled, in the precision that the probe of this
machine chooses. The peer is `LlamaForCausalLM` with AdamW and clipping: eager float32, which is its default; bfloat16
autocast with `torch.compile`; and, where the probe chose float32, compiled float32. All take steps in turn, on rows
that lie ready; what it takes to load such rows from token shards is measured beside them, as a share of our step.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks import steps
from benchmarks.data import library, load
from benchmarks.steps import Step
from makar.codecs.bpe import train_bpe
from makar.core.device import Precision, measure, product_speeds
from makar.core.nouns import Batch
from makar.data.tokens import write_tokens
from makar.families.language.config import LanguageConfig
from makar.families.language.cost import cost
from makar.families.language.family import FAMILY
from makar.families.language.objective import NextToken

TOKENS = 2048
"""A step."""

SHAPES = {
    "1M": {"vocab_size": 2048, "hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 384},
    "10M": {"vocab_size": 4096, "hidden_size": 320, "num_hidden_layers": 7, "intermediate_size": 896},
    "30M": {"vocab_size": 8192, "hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 1408},
}
SIZES = ("1M/256", "10M/256", "30M/256", "10M/1024")

PRODUCTS = ((2048, 320, 896), (2048, 512, 2048), (1024, 1024, 1024), (2048, 1024, 2048), (2048, 2048, 2048))
"""Rows, inner and columns of the matrix products among which the peak is looked for."""

CURVE_STEPS, CURVE_POINTS = 200, 10

RATE = 3e-4


def run(sizes: Sequence[str] = SIZES, repeats: int = 5) -> dict[str, Any]:
    """Measure.

    Args:
        sizes: "parameters/context", of `SIZES`.
        repeats: Turns that every way takes; each is at least one step and half a second.

    Returns:
        By size tokens a second, ratios to the peers, the share of the machine's peak, and loading as a share of a
        step; the peak; the precision; and the loss over 200 steps beside eager float32.
    """
    precision = measure().precision
    found = {size: compare(size, precision, repeats) for size in sizes}
    for size, seconds in loading(sizes).items():
        found[size]["loading_share"] = round(seconds * found[size]["tokens_per_second"]["makar"] / TOKENS, 5)
    fp32, bf16 = product_speeds("cpu", PRODUCTS)
    peaks: dict[Precision, float] = {"fp32": fp32, "bf16": bf16}
    best = max(peaks.values())
    for each in found.values():
        each["share_of_peak"] = round(each.pop("flops_per_second") / best, 3)
    return {
        "precision": precision,
        "peak_gflops": {name: round(peak / 1e9) for name, peak in peaks.items()},
        "repeats": repeats,
        "sizes": found,
        "loss": curve(precision),
    }


def compare(size: str, precision: Precision, repeats: int) -> dict[str, Any]:
    """One size: every way in turn."""
    torch.compiler.reset()  # shapes of the size before would make these dynamic, which is slower
    name, _, context = size.partition("/")
    config = LanguageConfig(**SHAPES[name], max_position_embeddings=int(context) + 1)
    rows = TOKENS // int(context)
    tokens = torch.randint(0, config.vocab_size, (rows, int(context) + 1), generator=torch.Generator().manual_seed(0))
    thirds = (torch.arange(int(context) + 1) * 3 // (int(context) + 1)).int().expand_as(tokens)
    ways = {
        "makar": ours(config, {"tokens": tokens}, precision),
        "makar_packed": ours(config, {"tokens": tokens, "segments": thirds}, precision),
        "peer_fp32": theirs(config, tokens[:, :-1], "fp32", compiled=False),
        "peer_bf16_compiled": theirs(config, tokens[:, :-1], "bf16", compiled=True),
        f"peer_{precision}_compiled": theirs(config, tokens[:, :-1], precision, compiled=True),
    }
    found = steps.beside(size, ways, TOKENS, repeats)
    flops = cost(config, int(context)).flops * rows / TOKENS
    return {
        "parameters": cost(config, int(context)).parameters,
        "tokens_per_second": found["rows_per_second"],
        "ratios": found["ratios"],
        "flops_per_second": found["rows_per_second"]["makar"] * flops,
    }


def loading(sizes: Sequence[str]) -> dict[str, float]:
    """Seconds that a step's rows take from token shards, by size."""
    texts = library()
    bpe = train_bpe(texts[:300], 2048)
    with tempfile.TemporaryDirectory() as folder:
        shards = write_tokens(texts, bpe.batch_ids, Path(folder) / "tokens", bpe.hash, bpe.vocab_size)
        lengths = {size: int(size.partition("/")[2]) for size in sizes}
        return {size: load(shards, TOKENS // length, length)["makar"] / 1e6 for size, length in lengths.items()}


def ours(config: LanguageConfig, rows: Batch, precision: Precision) -> Step:
    """A step of the trainer."""
    return steps.ours(steps.fresh(FAMILY, config), NextToken(), rows, precision, compiled=True, rate=RATE)


def theirs(config: LanguageConfig, tokens: torch.Tensor, precision: Precision, *, compiled: bool) -> Step:
    """A step of the peer, by its own loss."""
    torch.manual_seed(0)
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "head_dim")
    shape = {name: getattr(config, name) for name in names}
    limits = {"max_position_embeddings": config.max_position_embeddings, "tie_word_embeddings": True}
    net = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, **limits))
    shown = {"input_ids": tokens, "labels": tokens, "use_cache": False}
    return steps.theirs(net, lambda net: net(**shown).loss, precision, compiled=compiled, rate=RATE)


def curve(precision: Precision) -> dict[str, Any]:
    """Mean losses of tenths of 200 steps on real text, beside the same steps in eager float32."""
    torch.compiler.reset()
    bpe = train_bpe(library()[:300], 2048)
    stream = torch.tensor([token for ids in bpe.batch_ids(library()[:600]) for token in ids])
    config = LanguageConfig(**SHAPES["1M"] | {"vocab_size": bpe.vocab_size}, max_position_embeddings=256)
    rows = stream[: len(stream) // 257 * 257].view(-1, 257)
    models = steps.fresh(FAMILY, config), steps.fresh(FAMILY, config)
    fast = steps.trainer(models[0], NextToken(), 8, precision, compiled=True, rate=1e-3)
    plain = steps.trainer(models[1], NextToken(), 8, "fp32", compiled=False, rate=1e-3)
    losses: dict[str, list[float]] = {f"{precision}_compiled": [], "fp32_eager": []}
    for number in range(CURVE_STEPS):
        batch = {"tokens": rows[(torch.arange(8) + 8 * number) % len(rows)]}
        for name, step in zip(losses, (fast, plain), strict=True):
            losses[name].append(step(batch, number))
    share = CURVE_STEPS // CURVE_POINTS
    means = {
        name: [round(statistics.mean(each[k : k + share]), 4) for k in range(0, CURVE_STEPS, share)]
        for name, each in losses.items()
    }
    gap = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    return {"steps": CURVE_STEPS, "largest_gap": round(gap, 5), **means}
