"""The CLIP towers beside a net that reads, as `StableDiffusion3Pipeline` keeps them: two, or one in both slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from makar.core.errors import ModelError
from makar.core.nouns import TextEncoder
from makar.core.tensors import hash_tensors
from makar.families.clip.text import ClipText, read_text

SLOTS = ("", "_2")
"""How the names of the pipeline's two towers end, and of their tokenizers."""

NAMES: Mapping[str, Sequence[str | None]] = {
    **{f"text_encoder{slot}": ("transformers", "CLIPTextModelWithProjection") for slot in SLOTS},
    **{f"tokenizer{slot}": ("transformers", "CLIPTokenizer") for slot in SLOTS},
    "text_encoder_3": (None, None),
    "tokenizer_3": (None, None),
}
"""Their lines in model_index.json: there is no T5."""


@final
@dataclass(frozen=True)
class Towers:
    """Two towers whose vectors lie side by side; implements `core.nouns.TextEncoder`.

    Each has a tokenizer of its own, so a row of tokens is those of the first and then those of the second.

    Args:
        first: In the first slot.
        second: In the second; it reads as many tokens.
    """

    first: ClipText
    second: ClipText

    @property
    def length(self) -> int:
        """Tokens of every text, in each tower."""
        return self.first.length

    @property
    def width(self) -> int:
        """Of a token's vector."""
        return self.first.width + self.second.width

    @property
    def pooled_width(self) -> int:
        """Of a text's vector."""
        return self.first.pooled_width + self.second.pooled_width

    def hash(self) -> str:
        """The SHA-256 of both."""
        both = [torch.frombuffer(bytearray.fromhex(each.hash()), dtype=torch.uint8) for each in self.both]
        return hash_tensors({"towers": torch.stack(both)})

    @property
    def both(self) -> tuple[ClipText, ClipText]:
        """In order."""
        return self.first, self.second

    def ids(self, texts: Sequence[str]) -> Int[Tensor, "rows both"]:
        """The tokens of both.

        Raises:
            InputError: A text has more tokens than one reads, or nothing in it is known.
        """
        return torch.cat([each.ids(texts) for each in self.both], 1)

    def rows(self, texts: Sequence[str]) -> Int[Tensor, "rows both"]:
        """The tokens of both, of texts that a dataset holds: one that is too long loses its end."""
        return torch.cat([each.rows(texts) for each in self.both], 1)

    def features(
        self, ids: Int[Tensor, "rows both"]
    ) -> tuple[Float[Tensor, "rows length width"], Float[Tensor, "rows pooled"]]:
        """The vectors of both, side by side."""
        found = [each.features(part) for each, part in zip(self.both, ids.chunk(2, 1), strict=True)]
        tokens, pooled = zip(*found, strict=True)
        return torch.cat(tokens, 2), torch.cat(pooled, 1)

    def save(self, folder: Path) -> None:
        """Write both into an existing empty folder."""
        save_towers(self, folder)


def save_towers(text: TextEncoder, folder: Path, *, piped: bool = True) -> None:
    """Write the towers and their tokenizers beside a net.

    Args:
        text: One tower, or two.
        folder: The net's.
        piped: Whether a pipeline shall open it, where a tower that is alone stands in both slots.

    Raises:
        ModelError: It is no CLIP.
    """
    both = text.both if isinstance(text, Towers) else (text, text) if piped else (text,)
    for slot, tower in zip(SLOTS, both, strict=False):
        if not isinstance(tower, ClipText):
            what, fix = "a tower that is no CLIP has no folder that others open", "take a trained CLIP"
            raise ModelError(what, where="parts.text", value=type(tower).__name__, fix=fix)
        for name in (f"text_encoder{slot}", f"tokenizer{slot}"):
            (folder / name).mkdir()
        tower.save_tower(folder / f"text_encoder{slot}")
        tower.codec.save(folder / f"tokenizer{slot}")


def read_towers(folder: Path) -> TextEncoder | None:
    """Read what lies beside a net; None where nothing does.

    Raises:
        ModelError: A file is missing, damaged, or does not fit the others.
    """
    found: list[ClipText] = []
    for slot in SLOTS:
        place, tokenizer = folder / f"text_encoder{slot}", folder / f"tokenizer{slot}"
        if place.exists():
            found.append(read_text(place, tokenizer if tokenizer.exists() else None))
    if len(found) < len(SLOTS):
        return found[0] if found else None
    first, second = found
    if first.length != second.length:
        value = f"{first.length} and {second.length} tokens"
        raise ModelError("the two towers read texts of other lengths", where=folder, value=value, fix="copy it again")
    return first if first.hash() == second.hash() else Towers(first, second)
