"""A trained CLIP as what tells another net what a text means: its tower that reads, as SD3 takes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from makar.codecs.captions import Captions
from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.core.tensors import check_shapes, hash_tensors, save_tensors
from makar.families.clip.build import Net, captions_of, check_end
from makar.families.clip.ecosystem import text_from_ecosystem, text_to_ecosystem
from makar.families.weights import read_sharded
from makar.nets.clip import ClipNet, ClipTextModel, States, Tokens


class ClipReader(nn.Module):
    """The tower that reads and its projection: the names of transformers' `CLIPTextModelWithProjection`.

    Args:
        text_model: The tower.
        text_projection: To the shared space.
    """

    def __init__(self, text_model: ClipTextModel, text_projection: nn.Linear) -> None:
        super().__init__()
        self.text_model, self.text_projection = text_model, text_projection

    def forward(self, tokens: Tokens) -> tuple[States, Float[Tensor, "rows pooled"]]:
        """What goes into the last layer, and what each text says, projected."""
        states = self.text_model.states(tokens)
        return states[-2], self.text_projection(self.text_model.pooled(states[-1], tokens))


@final
@dataclass(frozen=True)
class ClipText:
    """Implements `core.nouns.TextEncoder`: of each token what goes into the last layer, of a text its projection.

    Paper: arXiv 2403.03206, section 4, "Text encoders".

    Args:
        net: The tower; frozen.
        codec: Its tokenizer.
    """

    net: ClipReader
    codec: Captions

    @property
    def length(self) -> int:
        """Tokens of every text."""
        return self.codec.length

    @property
    def width(self) -> int:
        """Of a token's vector."""
        return self.net.text_model.config.hidden_size

    @property
    def pooled_width(self) -> int:
        """Of a text's vector."""
        return self.net.text_projection.out_features

    def hash(self) -> str:
        """The SHA-256 of the weights and of the tokenizer."""
        whole = torch.frombuffer(bytearray.fromhex(self.codec.hash), dtype=torch.uint8)
        return hash_tensors({**self.net.state_dict(), "tokenizer": whole})

    def ids(self, texts: Sequence[str]) -> Tokens:
        """The tokens of some texts, padded as `StableDiffusion3Pipeline` does; an empty one is a start and an end.

        Raises:
            InputError: A text has more tokens than it reads, or nothing in it is known.
        """
        return self.codec.ids(texts)

    def rows(self, texts: Sequence[str]) -> Tokens:
        """The tokens of texts that a dataset holds: one that is too long loses its end, as in CLIP's own training."""
        return self.codec.rows(texts)

    @torch.no_grad()
    def features(self, ids: Tokens) -> tuple[Float[Tensor, "rows length width"], Float[Tensor, "rows pooled"]]:
        """The vectors of each token, and of each text."""
        return self.net(ids.to(self.net.text_projection.weight.device))

    def save(self, folder: Path) -> None:
        """Write the tower as `CLIPTextModelWithProjection`, with its tokenizer, into an existing empty folder."""
        self.save_tower(folder)
        self.codec.save(folder)

    def save_tower(self, folder: Path) -> None:
        """Write the tower without its tokenizer, which pipelines keep in a folder of its own."""
        config = text_to_ecosystem(self.net.text_model.config, self.pooled_width)
        write_json(folder / "config.json", config)
        tensors = {name: tensor.float() for name, tensor in self.net.state_dict().items()}
        save_tensors(folder / "model.safetensors", tensors)


def text_of(model: Model[Net]) -> ClipText:
    """A model's tower that reads.

    Raises:
        ModelError: It is a SigLIP, or has no tokenizer.
    """
    if not isinstance(model.net, ClipNet):
        what, fix = "SigLIP's reader is no text tower of SD3's shape", "train a model of kind 'clip'"
        raise ModelError(what, where="parts.text", value="siglip", fix=fix)
    return ClipText(ClipReader(model.net.text_model, model.net.text_projection).eval(), captions_of(model))


def read_text(folder: Path, tokenizer: Path | None = None) -> ClipText:
    """Read a tower that reads, of `CLIPTextModelWithProjection`.

    Args:
        folder: Of the tower.
        tokenizer: Of its tokenizer; the same folder by default.

    Raises:
        ModelError: A file is missing, damaged or does not fit the others.
    """
    config, width = text_from_ecosystem(read_object(folder / "config.json"), folder / "config.json")
    where, weights = read_sharded(folder)
    with torch.device("meta"):
        net = ClipReader(ClipTextModel(config), nn.Linear(config.hidden_size, width, bias=False))
    check_shapes(where, weights, {name: tensor.shape for name, tensor in net.state_dict().items()})
    net.load_state_dict(weights, assign=True)
    codec = Captions.load(tokenizer or folder)
    if codec.vocab_size > config.vocab_size or codec.length > config.max_position_embeddings:
        sizes: Any = f"{codec.vocab_size} x {codec.length} and {config.vocab_size} x {config.max_position_embeddings}"
        what, fix = "the tokenizer has more tokens than the tower", "copy both from the same model"
        raise ModelError(what, where=folder, value=sizes, fix=fix)
    check_end(codec, config, tokenizer or folder)
    return ClipText(net.eval(), codec)
