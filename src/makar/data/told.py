"""What a frozen tower says of a dataset's captions, kept for training: it reads each once, and not at every step.

A folder of `tokens.bin` (little-endian float32: texts x length x width), `pooled.bin` (texts x pooled width),
`rows.bin` (int64: which text is each row's; captions that are equal are one) and `meta.json` with the hashes of the
files, of the tower and of what it read.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from makar.core.files import folder_atomic, seal_of
from makar.core.nouns import Batch, TextEncoder
from makar.core.say import Say
from makar.data.captioned import Captioned
from makar.data.hashed import HashedFile, check_files, read_meta, write_meta

READ = 64
"""Texts that are read at once."""


@final
@dataclass(frozen=True)
class ToldShards:
    """What was said of the captions of a split; opened with `ToldShards.open`.

    Args:
        path: The folder.
        meta: The content of meta.json.
    """

    path: Path
    meta: dict[str, Any]

    @staticmethod
    def open(path: Path) -> "ToldShards":
        """Open a folder; sizes and hashes of all its files are checked.

        Raises:
            InputError: A file is missing, truncated or damaged.
        """
        again = f"remove {path} and run the same command again: the captions are then read anew"
        meta = read_meta(path, "caption", again)
        check_files(path, meta, "caption", again)
        return ToldShards(path, meta)

    @cached_property
    def rows(self) -> np.ndarray:
        """Which text is each row's."""
        return np.memmap(self.path / "rows.bin", "<i8", "r")

    @cached_property
    def tokens(self) -> np.ndarray:
        """The vectors of each text's tokens, mapped into memory."""
        return np.memmap(self.path / "tokens.bin", "<f4", "r").reshape(-1, *self.meta["shape"])

    @cached_property
    def pooled(self) -> np.ndarray:
        """The vector of each text."""
        return np.memmap(self.path / "pooled.bin", "<f4", "r").reshape(-1, self.meta["pooled"])

    def of(
        self, rows: Int[np.ndarray, " some"]
    ) -> tuple[Float[Tensor, "some length width"], Float[Tensor, "some pooled"]]:
        """What was said of some rows' captions."""
        texts = self.rows[rows]
        return torch.from_numpy(self.tokens[texts]), torch.from_numpy(self.pooled[texts])


def kept_told(text: TextEncoder, tokens: Int[Tensor, "rows length"], beside: Path, *, say: Say) -> ToldShards:
    """What a tower says of the captions of a split, read once for each tower.

    Args:
        text: The tower.
        tokens: Of each row's caption.
        beside: The folder of the split's pictures; what is said is kept next to it.
        say: Told when it takes time.

    Raises:
        InputError: What was kept is damaged.
    """
    known = {"tower": text.hash(), "tokens": seal_of(tokens.tolist())}
    folder = beside.with_name(f"told-{seal_of(known)[:16]}")
    if folder.is_dir():
        return ToldShards.open(folder)
    distinct, rows = torch.unique(tokens, dim=0, return_inverse=True)
    say(f"reading {len(distinct):,} captions")
    with folder_atomic(folder) as place:
        with HashedFile(place / "tokens.bin") as vectors, HashedFile(place / "pooled.bin") as pooled:
            for some in distinct.split(READ):
                for file, found in zip((vectors, pooled), text.features(some), strict=True):
                    file.write(found.float().cpu().numpy().astype("<f4", copy=False))
        with HashedFile(place / "rows.bin") as index:
            index.write(rows.numpy().astype("<i8", copy=False))
        files = {"tokens.bin": vectors.record, "pooled.bin": pooled.record, "rows.bin": index.record}
        shape = {"shape": [text.length, text.width], "pooled": text.pooled_width}
        write_meta(place, {"format": 1, **known, **shape, "files": files})
    return ToldShards.open(folder)


@final
class Told:
    """A source of captioned pictures with what was said of the captions in place of their tokens.

    Args:
        captioned: Of a split.
        shards: Of its captions.
    """

    def __init__(self, captioned: Captioned, shards: ToldShards) -> None:
        self.captioned, self.shards = captioned, shards

    @property
    def epoch_rows(self) -> float:
        """Rows that it takes to see every picture once."""
        return self.captioned.epoch_rows

    def origins(self, step: int, size: int) -> list[int]:
        """Which of the encoded pictures a batch holds, in their order, from 0."""
        return self.captioned.origins(step, size)

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size` of the stream of shuffled epochs.

        Returns:
            What the pictures' own batch holds, `text_tokens` [size, length, width] and `text_pooled` [size, width].
        """
        pictures = self.captioned.pictures
        tokens, pooled = self.shards.of(pictures.order.rows(step * size, size))
        return {**pictures.batch(step, size), "text_tokens": tokens, "text_pooled": pooled}
