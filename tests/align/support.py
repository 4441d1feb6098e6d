"""Tiny models and rows for the tests of alignment."""

import copy
import dataclasses
import functools

import torch

from makar.align.rewards import Reward, each
from makar.align.rollouts import Prompt
from makar.codecs.bpe import SMALLEST, train_bpe
from makar.core.nouns import Model
from makar.core.random import Rng
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.nets.decoder import Decoder

VOCAB = 24


def tiny(seed=0, width=16, scale=8.0, **more):
    """A random model whose opinions are strong: its weights are wide."""
    config = LanguageConfig(
        vocab_size=VOCAB,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        **more,
    )
    torch.manual_seed(seed)
    net = Decoder(config)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter *= scale
    return Model(FAMILY, config, net)


def frozen(model):
    return dataclasses.replace(model, net=copy.deepcopy(model.net).requires_grad_(False).eval())


def answers(rows, width=12, seed=0):
    """Rows of random prompts and answers of random lengths, padded with 0."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, VOCAB, (rows, width), generator=rng)
    start = torch.randint(2, 5, (rows, 1), generator=rng)
    end = start + torch.randint(2, 6, (rows, 1), generator=rng)
    places = torch.arange(width)[None]
    return {"tokens": tokens * (places < end), "loss_mask": (places >= start) & (places < end)}


def pairs(rows=4, width=12):
    """Pairs that share a prompt."""
    chosen, rejected = answers(rows, width, 1), answers(rows, width, 2)
    return {f"chosen_{k}": v for k, v in chosen.items()} | {f"rejected_{k}": v for k, v in rejected.items()}


def rng(rows):
    return Rng(0, 0, torch.arange(rows))


def run(objective, model, batch, micro=None):
    """Loss, logs and gradients of a batch, over micro-batches, divided by the true count."""
    rows = len(next(iter(batch.values())))
    model.net.zero_grad()
    with torch.no_grad():
        batch = objective.prepare(model, batch, rng(rows))
    total, count, logs = 0.0, 0.0, {}
    for i in range(0, rows, micro or rows):
        cut = slice(i, i + (micro or rows))
        some = {name: t[cut] for name, t in batch.items()}
        loss = objective(model, some, "", rng(rows).at(torch.arange(rows)[cut]))
        loss.sum.backward()
        total, count = total + loss.sum.detach(), count + loss.count
        for name, value in loss.logs.items():
            assert not value.requires_grad, name
            logs[name] = logs.get(name, 0.0) + value
    grads = {n: p.grad / count for n, p in model.net.named_parameters() if p.grad is not None}
    return float(total / count), {name: float(v / count) for name, v in logs.items()}, grads


@functools.cache
def codec():
    return train_bpe(["1+2=3 4+5=9 6+7=13 8+0=8 "], SMALLEST)


def writer(seed=0, width=32, context=24, **more):
    """A tiny model with a tokenizer whose tokens are single bytes."""
    config = LanguageConfig(
        vocab_size=codec().vocab_size,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        **more,
    )
    torch.manual_seed(seed)
    return Model(FAMILY, config, Decoder(config), {"codec": codec()})


def asked(*texts):
    return [Prompt(tuple(codec().ids(text)), text, {"answer": text[::-1]}) for text in texts]


def rewarded(rule, name="rule", weight=1.0):
    return Reward(name, each(rule), weight, name)
