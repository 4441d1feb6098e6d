"""Conversations as rows: a dataset of them to ids and masks, encoded once and kept, packed whole."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makar.codecs.bpe import Bpe
from makar.codecs.chat import chat_ids, end_of_turn
from makar.codecs.template import ChatTemplate, template_of
from makar.core.errors import InputError, UserError
from makar.core.nouns import Source
from makar.core.say import Say
from makar.data.dataset import Dataset
from makar.data.tokens import TokenShards, write_tokens
from makar.data.whole import WholeRows, learned
from makar.recipes.manifest import hash_of
from makar.recipes.recipe import DataConfig
from makar.recipes.run import Workspace
from makar.recipes.text import counts, open_dataset, tokenizer

CUT = 0.01
"""The share of what is to be learned that may be lost to the length of a row, unless the recipe says otherwise."""


@dataclass(frozen=True)
class ChatRows:
    """Conversations, ready to train on.

    Args:
        codec: The tokenizer, with the chat template and the token that ends a turn.
        train: Rows of the training split.
        valid: Rows of the validation split.
        identity: Hashes by which a checkpoint knows its data.
        facts: For the manifest.
        bits_per_byte: None: what is learned is not all of the text.
    """

    codec: Bpe
    train: Source
    valid: Source
    identity: Mapping[str, str]
    facts: Mapping[str, Any]
    bits_per_byte: None = None


def chat_rows(
    data: DataConfig, codec: Bpe | None, vocab_size: int, *, seed: int, workspace: Workspace, say: Say
) -> ChatRows:
    """Collect, encode and pack conversations; whatever is there already is checked and used.

    Args:
        data: The recipe's part.
        codec: The tokenizer of the model that learns them; None trains one on what they say.
        vocab_size: Of a tokenizer to be trained.
        seed: Of the order of rows.
        workspace: Where datasets lie.
        say: For a line on each thing that takes time, and on what does not fit into rows.

    Raises:
        UserError: The tokenizer's own template is refused, or the dataset or its tokens cannot be used.
    """
    dataset = open_dataset(data, workspace, say)
    codec, template = speaking(codec or tokenizer(dataset, vocab_size, say))
    cut = CUT if data.cut is None else data.cut
    train = rows(data, dataset, codec, template, "train", seed=seed, cut=cut, say=say)
    valid = rows(data, dataset, codec, template, "valid", seed=seed, cut=1.0, say=say)
    return ChatRows(
        codec=codec,
        train=train,
        valid=valid,
        identity={
            "data": dataset.hash,
            "tokens": train.shards.hash,
            "tokenizer": codec.hash,
            "template": hash_of(template.source),
        },
        facts={
            "data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)},
            "tokenizer": {"hash": codec.hash, "vocab_size": codec.vocab_size},
            "tokens": {
                "train": train.shards.tokens,
                "valid": valid.shards.tokens,
                "train_hash": train.shards.hash,
                "targets": train.targets,
                "targets_cut": train.cut_targets,
                "conversations_cut": train.truncated,
                "filled": round(train.filled, 4),
            },
        },
    )


def speaking(codec: Bpe) -> tuple[Bpe, ChatTemplate]:
    """A tokenizer that carries its template and knows what ends a turn, and the template.

    Raises:
        ModelError: It has none, or one that is refused.
    """
    template = template_of(codec)
    return codec.speaking((end_of_turn(codec, template), *codec.ends), template.source), template


def rows(
    data: DataConfig,
    dataset: Dataset,
    codec: Bpe,
    template: ChatTemplate,
    split: str,
    *,
    seed: int,
    cut: float,
    say: Say,
) -> WholeRows:
    """The rows of a split; how much of it is learned, and what is lost to the length, is said."""
    shards = conversations(dataset, codec, template, split, say)
    made = WholeRows(shards, data.length, seed, codec.pad_id, cut)
    lost = ""
    if made.truncated:
        share = made.cut_targets / made.targets
        lost = f"; {made.truncated:,} are longer than a row: {made.cut_targets:,} targets ({share:.2%}) are lost"
    say(
        f"{split}: {made.targets:,} tokens to learn in {shards.documents:,} conversations, "
        f"{int(made.epoch_rows):,} rows, {made.filled:.0%} full{lost}"
    )
    return made


def conversations(dataset: Dataset, codec: Bpe, template: ChatTemplate, split: str, say: Say) -> TokenShards:
    """The ids and masks of a split, encoded once for each tokenizer and template."""
    key = hash_of([codec.hash, template.source])
    folder = folder_of(dataset, key, split)
    if folder.is_dir():
        return TokenShards.open(folder, key)
    say(f"encoding the {split} split")

    def encode(text: str) -> tuple[list[int], list[bool]]:
        record = json.loads(text)
        try:
            return chat_ids(codec, template, record["messages"], record.get("tools"))
        except UserError as fault:
            raise InputError(fault.what, where=dataset.path, value=text, fix=fault.fix) from None

    return write_tokens(dataset.texts(split), learned(encode), folder, key, 2 * codec.vocab_size)


def folder_of(dataset: Dataset, key: str, split: str) -> Path:
    """Where the shards of a split are or will be."""
    return dataset.path / f"turns-{split}-{hash_of([dataset.hash, key])[:12]}"
