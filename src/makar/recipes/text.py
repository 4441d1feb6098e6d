"""Text as rows: a recipe's sources to a dataset, its tokenizer and its token shards, each made once and kept."""

import math
import re
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makar.codecs.bpe import Bpe, train_bpe
from makar.core.errors import InputError, RecipeError
from makar.core.files import folder_atomic, read_json, sweep
from makar.core.nouns import Source
from makar.core.say import Say
from makar.data.chats import contents
from makar.data.collect import collect
from makar.data.dataset import Dataset
from makar.data.fetch import fetch, text_bytes
from makar.data.fim import fill_in_middle, sentinels
from makar.data.packed import PackedTokens
from makar.data.store import Manifest
from makar.data.tokens import TokenShards, write_tokens
from makar.recipes.manifest import hash_of
from makar.recipes.recipe import DataConfig
from makar.recipes.run import Workspace

TOKENIZER_BYTES = 32_000_000
"""Text that a tokenizer is trained on: more of it changes the last few merges only."""

COLLECTED = 1.5
"""Bytes on the disk for each of text while it is collected: three copies of it, packed to half and less; measured."""

FROM = {"chat": ("prompts", "talks"), "image": ("captioned",)}
"""What else rows can be than the kind of their dataset: conversations begin with prompts, pictures have captions."""

NOT_LIBRARY = ("__pycache__", "site-packages", "dist-packages", "test", "idlelib", "lib2to3", "turtledemo")
"""What lies in the folder of Python's standard library and is not the library, or is its tests and its data."""


@dataclass(frozen=True)
class TextRows:
    """A corpus, ready to train on.

    Args:
        codec: The tokenizer.
        train: Rows of the training split.
        valid: Rows of the validation split, never rearranged for filling in the middle.
        bits_per_byte: What a mean loss of one nat per token is in bits per byte of the validation split.
        identity: Hashes by which a checkpoint knows its data.
        facts: For the manifest.
    """

    codec: Bpe
    train: Source
    valid: Source
    bits_per_byte: float
    identity: Mapping[str, str]
    facts: Mapping[str, Any]


def text_rows(
    data: DataConfig, codec: Bpe | None, vocab_size: int, *, seed: int, workspace: Workspace, say: Say
) -> TextRows:
    """Collect, train a tokenizer, encode and pack; whatever is there already is checked and used.

    Args:
        data: The recipe's part.
        codec: A tokenizer that is given; None trains one on the corpus.
        vocab_size: Of a tokenizer to be trained.
        seed: Of the order of documents, and of the cuts for filling in the middle.
        workspace: Where datasets lie.
        say: For a line on each thing that takes time.

    Raises:
        UserError: A source, the dataset or its tokens cannot be used.
    """
    dataset = open_dataset(data, workspace, say)
    codec = codec or tokenizer(dataset, vocab_size, say)
    train = shards(dataset, codec, "train", fim_rate=data.fim_rate, seed=seed, say=say)
    valid = shards(dataset, codec, "valid", fim_rate=0.0, seed=seed, say=say)
    say(f"{train.tokens:,} tokens in {train.documents:,} documents to train on; {valid.tokens:,} to validate")
    return TextRows(
        codec=codec,
        train=PackedTokens(train, data.length, seed, data.documents),
        valid=PackedTokens(valid, data.length, seed, data.documents),
        bits_per_byte=valid.tokens / dataset.bytes("valid") / math.log(2),
        identity={"data": dataset.hash, "tokens": train.hash, "tokenizer": codec.hash},
        facts={
            "data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)},
            "tokenizer": {"hash": codec.hash, "vocab_size": codec.vocab_size},
            "tokens": {"train": train.tokens, "valid": valid.tokens, "train_hash": train.hash},
        },
    )


def open_dataset(data: DataConfig, workspace: Workspace, say: Say) -> Dataset:
    """The recipe's dataset, collected first if it is not there yet.

    Raises:
        InputError: It was collected from files that have changed since.
        RecipeError: It holds another kind of rows than the recipe asks for.
    """
    folder = dataset_folder(data, workspace)
    if data.dataset is None and not (folder / "manifest.json").is_file():
        say(f"collecting {', '.join(data.sources)} into {folder}")
        collect(expanded(data.sources), folder, data.collect, say)
    dataset = Dataset.open(folder)
    check_sources(data, dataset)
    kind = dataset.manifest.kind
    if data.rows not in FROM.get(kind, ()) and kind != data.rows:
        fix = f"set data.rows={kind!r}, or name other data"
        raise RecipeError(f"the dataset holds {kind!r} and no {data.rows!r}", where=folder, fix=fix)
    return dataset


def check_sources(data: DataConfig, dataset: Dataset) -> None:
    """Refuse a dataset whose sources hold something else now.

    A file that is gone says nothing, and a package has a version.

    Raises:
        InputError: Names the source.
    """
    recorded = {source.name: source.sha256 for source in dataset.manifest.sources}
    for name in expanded(data.sources):
        here = name.startswith("make:") or (not name.startswith("pypi:") and Path(name).expanduser().exists())
        if here and fetch(name).sha256 != recorded.get(name):
            fix = f"remove {dataset.path} to collect it anew"
            raise InputError("the source has changed since it was collected", where=name, fix=fix)


def dataset_folder(data: DataConfig, workspace: Workspace) -> Path:
    """Where a recipe's dataset is or will be: named after the first source, and by a hash of sources and options."""
    if data.dataset is not None:
        return Path(data.dataset)
    key = hash_of({"sources": expanded(data.sources), "options": data.collect.model_dump(mode="json")})
    name = data.sources[0].removeprefix("pypi:").strip("{}/.").split("==")[0].split("/")[-1]
    return workspace.data / f"{re.sub('[^A-Za-z0-9_-]+', '-', name) or 'data'}-{key[:8]}"


def counts(manifest: Manifest) -> dict[str, Any]:
    """What a run's manifest says of its dataset: sources, licences, what was kept and dropped."""
    return manifest.model_dump(mode="json", include={"sources", "read", "kept", "dropped", "notes"})


def expanded(sources: tuple[str, ...]) -> list[str]:
    """Sources with "{stdlib}" replaced by the modules and packages of the running Python's own library.

    Raises:
        RecipeError: Another word in braces.
    """
    found: list[str] = []
    for source in sources:
        if source == "{stdlib}":
            entries = sorted(Path(sysconfig.get_path("stdlib")).iterdir())
            packages = [p for p in entries if (p / "__init__.py").is_file() and p.name not in NOT_LIBRARY]
            found += [str(path) for path in (*(p for p in entries if p.suffix == ".py"), *packages)]
        elif re.fullmatch(r"\{.*\}", source):
            raise RecipeError("unknown placeholder", where="data.sources", value=source, fix="there is only {stdlib}")
        else:
            found.append(source)
    return found


def tokenizer(dataset: Dataset, vocab_size: int, say: Say) -> Bpe:
    """The dataset's own tokenizer of a size, trained once."""
    folder = tokenizer_folder(dataset, vocab_size)
    if not folder.is_dir():
        say(f"training a tokenizer of {vocab_size} entries")
        sweep(dataset.path)
        with folder_atomic(folder) as place:
            train_bpe(spread(dataset, TOKENIZER_BYTES), vocab_size).save(place)
    return Bpe.load(folder)


def spread(dataset: Dataset, limit: int) -> Iterator[str]:
    """Every k-th training document, k such that about `limit` bytes come together from all over the corpus.

    Of conversations, what is said in them.
    """
    stride = max(1, round(dataset.bytes("train") / limit))
    prose = dataset.manifest.kind == "text"
    for number, text in enumerate(dataset.texts("train")):
        if number % stride == 0:
            yield text if prose else contents(text)


def shards(dataset: Dataset, codec: Bpe, split: str, *, fim_rate: float, seed: int, say: Say) -> TokenShards:
    """The token shards of a split, encoded once for each tokenizer and each way of cutting.

    Raises:
        RecipeError: Documents are to be cut, and the tokenizer has no tokens that mark their parts.
    """
    folder = tokens_folder(dataset, codec, split, fim_rate, seed)
    if folder.is_dir():
        return TokenShards.open(folder, codec.hash)
    say(f"encoding the {split} split")
    sweep(dataset.path)
    encode = codec.batch_ids
    if fim_rate:
        if (marks := sentinels(codec.special)) is None:
            raise RecipeError("this tokenizer cannot fill in the middle", value=fim_rate, fix="set data.fim_rate=0")
        encode = fill_in_middle(codec.plain_ids, marks, seed, opener=codec.opener, closer=codec.closer, rate=fim_rate)
    return write_tokens(dataset.texts(split), encode, folder, codec.hash, codec.vocab_size)


def tokenizer_folder(dataset: Dataset, vocab_size: int) -> Path:
    """Where a dataset's own tokenizer of a size is or will be."""
    return dataset.path / f"tokenizer-{vocab_size}-{dataset.hash[:8]}"


def tokens_folder(dataset: Dataset, codec: Bpe, split: str, fim_rate: float, seed: int) -> Path:
    """Where the token shards of a split are or will be."""
    key = hash_of([dataset.hash, codec.hash, *([fim_rate, seed] if fim_rate else [])])
    return dataset.path / f"tokens-{split}-{key[:12]}"


def bytes_to_make(data: DataConfig, vocab_size: int, seed: int, workspace: Workspace) -> dict[str, int]:
    """Bytes that the data will take which are not made yet, by what they are for: a forecast from the sources' sizes.

    Sources that are still to be fetched count for nothing: how large they are is not known; scenes lie nowhere.
    """
    if data.rows in ("scenes", "scene-talks"):
        return {"dataset": 0, "tokens": 0}
    folder = dataset_folder(data, workspace)
    if (folder / "manifest.json").is_file():
        dataset, whole = 0, sum(Dataset.open(folder).manifest.kept[split].bytes for split in ("train", "valid"))
    else:
        whole = sum(map(text_bytes, expanded(data.sources)))
        dataset, whole = int(COLLECTED * whole), min(whole, data.collect.limit_bytes or whole)
    encoded = data.rows in ("text", "chat") and tokens_known(data, vocab_size, seed, workspace) is None
    return {"dataset": dataset, "tokens": whole * (1 if vocab_size <= 2**16 else 2) if encoded else 0}


def tokens_known(data: DataConfig, vocab_size: int, seed: int, workspace: Workspace) -> int | None:
    """How many tokens there are to train on, if an earlier start has encoded them with the dataset's own tokenizer."""
    folder = dataset_folder(data, workspace)
    if not (folder / "manifest.json").is_file():
        return None
    dataset = Dataset.open(folder)
    if not tokenizer_folder(dataset, vocab_size).is_dir():
        return None
    codec = Bpe.load(tokenizer_folder(dataset, vocab_size))
    meta = tokens_folder(dataset, codec, "train", data.fim_rate, seed) / "meta.json"
    return read_json(meta)["tokens"] if meta.is_file() else None
