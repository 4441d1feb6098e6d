"""Encoding text and loading batches, each beside the plain way to do it."""

import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from makar.codecs.bpe import Bpe, train_bpe
from makar.data.packed import PackedTokens
from makar.data.tokens import TokenShards, write_tokens

REPEATS = 7
CHARACTERS = 2_000_000
SHAPES = ((8, 256), (2, 1024), (32, 256), (8, 1024))


def run() -> dict:
    """Medians of interleaved repeats.

    Returns:
        `encode`: tokens a second of `Bpe.batch_ids` and of a loop over the library; `load`: microseconds for a
        batch of `PackedTokens` and for one that is put together document by document, for several shapes.
    """
    texts = library()
    bpe = train_bpe(texts, 4096)
    with tempfile.TemporaryDirectory() as folder:
        shards = write_tokens(texts, bpe.batch_ids, Path(folder) / "tokens", bpe.hash, bpe.vocab_size)
        return {"repeats": REPEATS, "encode": encode(bpe, texts), "load": [load(shards, *shape) for shape in SHAPES]}


def library() -> list[str]:
    """Pieces of Python's standard library, a few screens each: the one text that every machine has."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    whole = "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)[:CHARACTERS]
    return [whole[k : k + 2000] for k in range(0, len(whole), 2000)]


def interleaved(ways: dict[str, Callable[[], object]], inner: int = 1) -> dict[str, float]:
    """Median seconds of each way, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            for _ in range(inner):
                way()
            times[name].append((time.perf_counter() - start) / inner)
    return {name: statistics.median(found) for name, found in times.items()}


def encode(bpe: Bpe, texts: list[str]) -> dict:
    """Tokens a second."""
    plain = Tokenizer.from_str(bpe.source)
    tokens = sum(map(len, bpe.batch_ids(texts)))
    seconds = interleaved(
        {"makar": lambda: bpe.batch_ids(texts), "tokenizers_loop": lambda: [plain.encode(text).ids for text in texts]}
    )
    rates = {name: round(tokens / taken) for name, taken in seconds.items()}
    megabytes = round(sum(len(text.encode()) for text in texts) / seconds["makar"] / 1e6, 2)
    return {**rates, "makar_megabytes": megabytes, "ratio": round(rates["makar"] / rates["tokenizers_loop"], 2)}


def load(shards: TokenShards, rows: int, length: int) -> dict:
    """Microseconds for a batch of so many rows."""
    source = PackedTokens(shards, length, seed=0)
    steps = iter(range(10**9))
    offsets = shards.offsets.tolist()
    order = torch.randperm(shards.documents, generator=torch.Generator().manual_seed(0)).tolist()
    tokens = shards.take(np.arange(shards.tokens))

    def one_by_one() -> torch.Tensor:
        held: list[int] = []
        for document in order:
            held += tokens[offsets[document] : offsets[document + 1]].tolist()
            if len(held) > rows * length:
                break
        return torch.tensor(held[: rows * length]).view(rows, length)

    seconds = interleaved({"makar": lambda: source.batch(next(steps), rows), "one_by_one": one_by_one}, inner=20)
    micros = {name: round(taken * 1e6, 1) for name, taken in seconds.items()}
    return {"rows": rows, "length": length, **micros, "ratio": round(micros["one_by_one"] / micros["makar"], 2)}
