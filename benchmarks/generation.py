"""Tokens a second beside `transformers.generate`: greedy, random weights of about 10 M parameters, everything included.

Peers and own in turn (A B A B), medians. Two ratios each: against the peer's default, eager float32, and against the
peer at the same precision. The peer is never compiled here: its compiled generation needs minutes to start.
"""

import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers

from makar.codecs.bpe import train_bpe
from makar.core.nouns import Model, Request
from makar.engine.run import Engine
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.families.language.reading import compiled, renew
from makar.families.language.settings import LanguageSettings
from makar.nets.decoder import Decoder

PROMPT, TOKENS = 16, 128
SHAPE = {
    "hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 5, "num_key_value_heads": 5,
    "intermediate_size": 896, "max_position_embeddings": 512,
}  # fmt: skip


def made() -> Model:
    """About 10 M random parameters, and a tokenizer trained on random words."""
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(97, 123, size))) for size in rng.integers(2, 9, 6000)]
    codec = train_bpe([" ".join(rng.choice(words, 50_000))], 8192)
    config = LanguageConfig(vocab_size=8192, **SHAPE)
    torch.manual_seed(0)
    net = Decoder(config)
    with torch.no_grad():
        net.model.embed_tokens.weight[codec.end_id] = 0  # never the likeliest: answers have their full length
    return Model(FAMILY, config, net, {"codec": codec})


def peer_of(net: Decoder) -> transformers.LlamaForCausalLM:
    """The same weights in transformers."""
    config = transformers.LlamaConfig(
        vocab_size=8192, tie_word_embeddings=True, rms_norm_eps=net.config.rms_norm_eps, **SHAPE
    )
    peer = transformers.LlamaForCausalLM(config).to(net.output_weight.dtype).eval()
    peer.load_state_dict(net.state_dict(), strict=False)
    peer.generation_config.eos_token_id = None  # likewise, and at no cost to it
    peer.generation_config.pad_token_id = 0
    return peer


def prompts(rows: int) -> list[list[int]]:
    """Random tokens, as many in every row: the peer's batches know no other without padding."""
    return np.random.default_rng(1).integers(20, 8192, (rows, PROMPT)).tolist()


def ours(model: Model, rows: int) -> list[list[int]]:
    """The ids of all answers, by the whole engine."""
    settings = LanguageSettings(temperature=0, max_tokens=TOKENS)
    answers = Engine(model).generate([Request(prompt, settings=settings) for prompt in prompts(rows)])
    return [answer.info["ids"] for answer in answers]


def theirs(peer: transformers.LlamaForCausalLM, rows: int) -> list[list[int]]:
    """The same by `transformers.generate`."""
    ids = torch.tensor(prompts(rows))
    made = peer.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS)
    return made[:, PROMPT:].tolist()


def in_turn(ways: dict[str, Callable[[], Any]], rows: int, repeats: int) -> dict[str, float]:
    """Tokens a second of each way, the median of interleaved repeats, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: round(rows * TOKENS / statistics.median(each), 1) for name, each in seconds.items()}


def run(repeats: int = 5) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Of everything, in turn.

    Returns:
        Per case tokens a second and ratios; what compiling cost, and after how many tokens that is earned back.
    """
    model = made()
    half = replace(model, net=deepcopy(model.net).bfloat16())
    peer, half_peer = peer_of(model.net), peer_of(half.net)
    assert all(len(row) == TOKENS for row in ours(model, 16))
    assert ours(model, 1) == theirs(peer, 1), "float32 must give the same tokens"

    start = time.perf_counter()
    with torch.inference_mode():
        reading = renew(half.net)
        assert reading.reader is not None
        step = compiled(reading.reader, several=False)
    cost = time.perf_counter() - start

    def fast() -> list[list[int]]:
        reading.compiled[False] = step
        try:
            return ours(half, 1)
        finally:
            reading.compiled.clear()

    one = in_turn(
        {
            "peer": lambda: theirs(peer, 1),
            "makar": lambda: ours(model, 1),
            "peer_bf16": lambda: theirs(half_peer, 1),
            "makar_bf16": lambda: ours(half, 1),
            "makar_bf16_compiled": fast,
        },
        1,
        repeats,
    )
    many = in_turn({"peer": lambda: theirs(peer, 16), "makar": lambda: ours(model, 16)}, 16, repeats)
    gain = 1 / one["makar"] - 1 / one["makar_bf16_compiled"]
    return {
        "parameters": sum(p.numel() for p in model.net.parameters()),
        "prompt": PROMPT,
        "tokens": TOKENS,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "batch_1": one,
        "batch_16": many,
        "ratios": {
            "batch_1_fp32": round(one["makar"] / one["peer"], 2),
            "batch_1_bf16_compiled": round(one["makar_bf16_compiled"] / one["peer"], 2),
            "batch_1_bf16_compiled_same_precision": round(one["makar_bf16_compiled"] / one["peer_bf16"], 2),
            "batch_16_fp32": round(many["makar"] / many["peer"], 2),
        },
        "compile_seconds": round(cost, 1),
        "compile_earned_after_tokens": round(cost / gain) if gain > 0 else None,
    }
