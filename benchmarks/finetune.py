"""LoRA steps on a decoder of SmolLM2-135M's shape beside PEFT: the whole step, from the batch to the changed adapter.

Ours is `train.step.train_step` over an adapted net as `makar train` runs it, in the precision that the probe of this
machine chooses, with its blocks compiled and without. The peer is `LlamaForCausalLM` with PEFT's LoRA of the same rank
on the same layers, AdamW and clipping, in eager float32 and under bfloat16 autocast. All begin with the same weights
and take steps on the same rows in turn: once every token is learned, once only the second half of each row, as of a
conversation only the answers are.
"""

from collections.abc import Callable
from typing import Any

import peft
import torch
import transformers

from benchmarks import steps
from makar.core.device import Precision, measure
from makar.core.nouns import Batch
from makar.families.language.config import LanguageConfig
from makar.families.language.cost import cost
from makar.families.language.family import FAMILY
from makar.families.language.objective import NextToken
from makar.nets.cross_entropy import IGNORE
from makar.nets.decoder import Decoder
from makar.nets.lora import plain_state
from makar.nets.lora_config import LoraConfig
from makar.recipes.adapting import adapt, adapted_cost

SMOLLM2 = LanguageConfig(
    vocab_size=49_152, hidden_size=576, num_hidden_layers=30, intermediate_size=1536, num_attention_heads=9,
    num_key_value_heads=3, max_position_embeddings=8192, rope_theta=100_000.0, rms_norm_eps=1e-5,
)  # fmt: skip
CONTEXT, ROWS, RATE = 256, 8, 3e-4
ADAPTER = LoraConfig(rank=16, alpha=32.0)

Losing = Callable[[], float]
"""A step that says its mean loss."""


def run(
    repeats: int = 5, rows: int = ROWS, config: LanguageConfig = SMOLLM2, *, compiled: bool = True
) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Turns that every way takes; each is at least one step and half a second.
        rows: Of 256 tokens, a step.
        config: The decoder.
        compiled: Whether ours also runs with compiled blocks, which takes a minute or two to begin.

    Returns:
        By what is learned: tokens ("rows") a second of each way, ours over the peers', and each way's first loss.
    """
    precision = measure().precision
    tokens = torch.randint(0, config.vocab_size, (rows, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    answers = (torch.arange(CONTEXT + 1) > CONTEXT // 2).expand_as(tokens)
    with torch.device("meta"):
        net = Decoder(config)
        adapt(net, FAMILY.blocks(net), ADAPTER)
    forecast = adapted_cost(cost(config, CONTEXT), net)
    learned = {"all": torch.ones_like(answers), "answers": answers}
    return {
        "parameters": forecast.parameters,
        "trained": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "precision": precision,
        "compiled": compiled,
        "tokens_per_step": rows * CONTEXT,
        "repeats": repeats,
        "gflop_per_token": round(forecast.flops / CONTEXT / 1e9, 3),
        "learned": {
            name: compare(name, config, {"tokens": tokens, "loss_mask": mask}, precision, repeats, compiled=compiled)
            for name, mask in learned.items()
        },
    }


def compare(
    name: str, config: LanguageConfig, batch: Batch, precision: Precision, repeats: int, *, compiled: bool
) -> dict[str, Any]:
    """One mask: every way in turn."""
    torch.manual_seed(0)
    base = Decoder(config).state_dict()
    ways: dict[str, Losing] = {
        "makar": ours(config, base, batch, precision, compiled=compiled),
        "makar_eager": ours(config, base, batch, precision, compiled=False),
        "peer_fp32": theirs(config, base, batch, "fp32"),
        "peer_bf16": theirs(config, base, batch, "bf16"),
    }
    losses = {way: round(step(), 5) for way, step in ways.items()}
    tokens = batch["tokens"][:, 1:].numel()
    return {**steps.beside(f"finetune {name}", ways, tokens, repeats), "first_loss": losses}


def ours(
    config: LanguageConfig, base: dict[str, torch.Tensor], batch: Batch, precision: Precision, *, compiled: bool
) -> Losing:
    """A step of the trainer."""
    model = steps.fresh(FAMILY, config)
    model.net.load_state_dict(base)
    adapt(model.net, FAMILY.blocks(model.net), ADAPTER)
    assert plain_state(model.net).keys() == base.keys()
    return steps.ours(model, NextToken(), batch, precision, compiled=compiled, rate=RATE)


def theirs(config: LanguageConfig, base: dict[str, torch.Tensor], batch: Batch, precision: Precision) -> Losing:
    """A step of the peer, by its own loss."""
    names = (
        "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
        "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
    )  # fmt: skip
    shape = {name: getattr(config, name) for name in names}
    rope = {"rope_type": "default", "rope_theta": config.rope_theta}
    plain = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, rope_parameters=rope))
    plain.load_state_dict(base, strict=False)  # the tied output matrix has no tensor of its own
    net = peft.get_peft_model(
        plain,
        peft.LoraConfig(
            r=ADAPTER.rank, lora_alpha=int(ADAPTER.alpha), target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    shown = {"input_ids": batch["tokens"], "labels": batch["tokens"].where(batch["loss_mask"], IGNORE)}
    return steps.theirs(net, lambda net: net(**shown, use_cache=False).loss, precision, rate=RATE)
