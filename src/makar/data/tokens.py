"""Token shards: the documents of a split as flat memory-mapped files of ids, which carry their tokenizer's hash.

A folder of `tokens-00000.bin` ... (little-endian uint16, or uint32 for a vocabulary above 65,536), `offsets.bin`
(uint64: where each document starts, and the end) and `meta.json` (counts, the SHA-256 of each file and of itself).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Int64, Integer

from makar.core.errors import InputError
from makar.core.files import folder_atomic
from makar.data.hashed import HashedFile, check_files, read_meta, write_meta

SHARD_TOKENS = 2**28
CHUNK_CHARACTERS = 2**20

Ids = Integer[np.ndarray, " tokens"]


@final
@dataclass(frozen=True)
class TokenShards:
    """The tokens of a split; opened with `TokenShards.open`.

    Args:
        path: The folder.
        meta: The content of meta.json.
    """

    path: Path
    meta: Mapping[str, Any]

    @staticmethod
    def open(path: Path, tokenizer_hash: str) -> "TokenShards":
        """Open a folder of shards; sizes and hashes of all its files are checked.

        Args:
            path: The folder.
            tokenizer_hash: `Bpe.hash` of the tokenizer that the tokens must come from.

        Raises:
            InputError: A file is missing, truncated or damaged, or the tokens come from another tokenizer.
        """
        again = f"remove {path} and run the same command again: the text is then encoded anew"
        meta = read_meta(path, "token", again)
        if meta["tokenizer"] != tokenizer_hash:
            raise InputError(
                "these tokens come from another tokenizer", where=path, value=meta["tokenizer"][:12], fix=again
            )
        check_files(path, meta, "token", again)
        return TokenShards(path, meta)

    @property
    def hash(self) -> str:
        """SHA-256 over the description of all files: equal for equal tokens."""
        return self.meta["sha256"]

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.meta["tokens"]

    @property
    def documents(self) -> int:
        """Number of documents, none of them empty."""
        return self.meta["documents"]

    @cached_property
    def offsets(self) -> Int64[np.ndarray, " borders"]:
        """Where each document starts among all tokens; the last entry is the number of tokens."""
        return np.memmap(self.path / "offsets.bin", dtype="<u8", mode="r").view(np.int64)

    @cached_property
    def _shards(self) -> list[Ids]:
        files = [self.path / name for name in self.meta["files"] if name.startswith("tokens-")]
        return [np.memmap(file, dtype=self.meta["dtype"], mode="r") for file in files]

    def take(self, positions: Int64[np.ndarray, " some"]) -> Int64[np.ndarray, " some"]:
        """The ids at positions among all tokens, whatever shard each lies in."""
        if len(self._shards) == 1:
            return self._shards[0][positions].astype(np.int64)
        shard, place = np.divmod(positions, self.meta["shard_tokens"])
        ids = np.empty(len(positions), np.int64)
        for number in np.unique(shard):
            here = shard == number
            ids[here] = self._shards[number][place[here]]
        return ids


def write_tokens(
    texts: Iterable[str],
    encode: Callable[[list[str]], list[list[int]]],
    out: Path,
    tokenizer_hash: str,
    vocab_size: int,
    *,
    shard_tokens: int = SHARD_TOKENS,
) -> TokenShards:
    """Encode documents into token shards; a few megabytes of text are in memory at a time.

    Args:
        texts: The documents, read once.
        encode: Ids of documents, each with what opens or ends it, such as `Bpe.batch_ids`.
        out: The folder to make; one that exists is replaced when the new one is whole.
        tokenizer_hash: `Bpe.hash`, kept and checked by `TokenShards.open`.
        vocab_size: All ids are below it.
        shard_tokens: Tokens in each file but the last.

    Raises:
        InputError: There is no document, or an id is outside the vocabulary.
    """
    dtype = np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
    tokens = documents = 0
    with folder_atomic(out) as folder:
        with ExitStack() as files:
            offsets = files.enter_context(HashedFile(folder / "offsets.bin"))
            offsets.write(np.zeros(1, "<u8"))
            written = {"offsets.bin": offsets}
            for chunk in chunks(texts):
                rows = [row for row in encode(chunk) if row]
                if not rows:
                    continue
                ids = np.concatenate([np.array(row, np.int64) for row in rows])
                if ids.min() < 0 or ids.max() >= vocab_size:
                    raise InputError(
                        "a token id is outside the vocabulary",
                        where=out,
                        value=int(ids.max()),
                        fix=f"encode with the tokenizer that has {vocab_size} ids",
                    )
                offsets.write((tokens + np.cumsum([len(row) for row in rows])).astype("<u8"))
                for number, piece in pieces(ids.astype(dtype), tokens, shard_tokens):
                    name = f"tokens-{number:05}.bin"
                    if name not in written:
                        written[name] = files.enter_context(HashedFile(folder / name))
                    written[name].write(piece)
                tokens += len(ids)
                documents += len(rows)
        if not documents:
            raise InputError("there is no document to encode", where=out, fix="give a split that is not empty")
        meta = {
            "format": 1,
            "tokenizer": tokenizer_hash,
            "vocab_size": vocab_size,
            "dtype": dtype.str,
            "tokens": tokens,
            "documents": documents,
            "shard_tokens": shard_tokens,
            "files": {name: file.record for name, file in written.items()},
        }
        write_meta(folder, meta)
    return TokenShards.open(out, tokenizer_hash)


def chunks(texts: Iterable[str], characters: int = CHUNK_CHARACTERS) -> Iterator[list[str]]:
    """Lists of documents that hold about so many characters each."""
    chunk: list[str] = []
    held = 0
    for text in texts:
        chunk.append(text)
        held += len(text) + 64  # a list of many empty texts is not free either
        if held >= characters:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def pieces(ids: Ids, position: int, size: int) -> Iterator[tuple[int, Ids]]:
    """Cut ids, the first of which is at a position among all tokens, at the borders of shards: number and part."""
    begin = 0
    while begin < len(ids):
        number, place = divmod(position + begin, size)
        end = min(len(ids), begin + size - place)
        yield number, ids[begin:end]
        begin = end
