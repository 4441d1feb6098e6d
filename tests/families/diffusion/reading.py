"""A toy tower of texts, and tiny models that read by it."""

import hashlib

import torch

from makar.core.errors import InputError
from makar.core.nouns import Model
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.family import FAMILY
from makar.nets.mmdit_config import MMDiTConfig
from tests.families.diffusion.conftest import PATHS, shaken

WORDS = ("a", "red", "blue", "cat", "dog", "wearing", "sunglasses", "in", "space", "x")


class Tower:
    """Words to vectors: one table, and the mean of what it says; no token knows its neighbours."""

    length, width, pooled_width = 8, 5, 4

    def __init__(self):
        random = torch.Generator().manual_seed(1)
        self.table = torch.randn(len(WORDS) + 2, self.width, generator=random)
        self.whole = torch.randn(len(WORDS) + 2, self.pooled_width, generator=random)
        self.reads = 0

    def hash(self):
        return hashlib.sha256(self.table.numpy().tobytes()).hexdigest()

    def ids(self, texts):
        rows = torch.full((len(texts), self.length), 1)
        for row, text in zip(rows, texts, strict=True):
            words = text.lower().split()
            known = [2 + WORDS.index(word) for word in words if word in WORDS]
            if words and not known:
                raise InputError("nothing in the caption is known to the model", value=text, fix="say it otherwise")
            if len(known) > self.length - 2:
                raise InputError("the caption is too long", value=len(known), fix="shorten it")
            row[0], row[1 : 1 + len(known)] = 0, torch.tensor(known, dtype=torch.int64)
        return rows

    def rows(self, texts):
        known = [[word for word in text.lower().split() if word in WORDS] for text in texts]
        return self.ids([" ".join(words[: self.length - 2]) for words in known])

    def features(self, ids):
        self.reads += len(ids)
        return self.table[ids], self.whole[ids].sum(1)

    def save(self, folder):
        (folder / "toy.txt").write_text("a toy")


def reader(path="flow", prediction="velocity", tower=None, parts=None, **shape):
    """A tiny model that reads, and says something."""
    net = MMDiTConfig.model_validate(
        {
            "sample_size": 8, "in_channels": 1, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8,
            "joint_attention_dim": 12, "pooled_projection_dim": 8, "empty_tokens": 3,
        } | shape
    )  # fmt: skip
    config = DiffusionConfig(net=net, path=PATHS[path], prediction=prediction)
    return Model(FAMILY, config, shaken(FAMILY.build(config)).eval(), {"text": tower or Tower(), **(parts or {})})
