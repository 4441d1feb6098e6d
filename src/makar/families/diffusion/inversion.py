"""A word that means what some pictures show: its vector in the text tower is learned, and nothing else.

Paper: textual inversion, arXiv 2208.01618, section 3.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.core.errors import InputError, ModelError
from makar.core.nouns import Batch, Loss, Model, Source
from makar.core.random import Rng
from makar.core.tensors import load_tensors, save_tensors
from makar.families.clip.text import ClipText
from makar.families.diffusion.caption import Caption, encoder_of, in_slots, reads
from makar.families.diffusion.denoise import Net, config_of
from makar.families.diffusion.objective import error, weight
from makar.families.diffusion.path import draw

LEARNED = "learned_embeds.safetensors"
"""The word learned last and its vector, as diffusers' `load_textual_inversion` takes it."""

TABLE = "text_model.embeddings.token_embedding.weight"
"""Where a tower keeps the vectors of its tokens."""


@final
@dataclass(frozen=True, eq=False)
class LearningText:
    """A tower whose last token's vector is being learned; implements `core.nouns.TextEncoder`, with gradient.

    Args:
        text: The tower, with a row for the token; frozen.
        vector: What stands in that row's place.
    """

    text: ClipText
    vector: nn.Parameter

    @property
    def length(self) -> int:
        """Tokens of every text."""
        return self.text.length

    @property
    def width(self) -> int:
        """Of a token's vector."""
        return self.text.width

    @property
    def pooled_width(self) -> int:
        """Of a text's vector."""
        return self.text.pooled_width

    def hash(self) -> str:
        """The SHA-256 of the tower with the vector as it is now."""
        return self.settled().hash()

    def ids(self, texts: Sequence[str]) -> Int[Tensor, "rows length"]:
        """The tokens of some texts, padded.

        Raises:
            InputError: A text has more tokens than it reads, or nothing in it is known.
        """
        return self.text.ids(texts)

    def rows(self, texts: Sequence[str]) -> Int[Tensor, "rows length"]:
        """The tokens of texts that a dataset holds."""
        return self.text.rows(texts)

    def features(
        self, ids: Int[Tensor, "rows length"]
    ) -> tuple[Float[Tensor, "rows length width"], Float[Tensor, "rows pooled"]]:
        """The vectors of each token, and of each text; the gradient goes to the word's."""
        place = self.text.codec.vocab_size - 1
        table = self.text.net.get_parameter(TABLE).detach().to(self.vector.device)
        whole = torch.cat((table[:place], self.vector[None], table[place + 1 :]))
        net = self.text.net.to(self.vector.device)
        return torch.func.functional_call(net, {TABLE: whole}, (ids.to(self.vector.device),))

    def save(self, folder: Path) -> None:
        """Write the tower with the vector as it is now."""
        self.settled().save(folder)

    def settled(self) -> ClipText:
        """The tower with the vector as it is now."""
        net = copy.deepcopy(self.text.net)
        with torch.no_grad():
            net.get_parameter(TABLE)[self.text.codec.vocab_size - 1] = self.vector
        return ClipText(net, self.text.codec)


@dataclass(frozen=True)
class Inversion:
    """The denoiser's error, and who learns from it is one word's vector.

    The batch holds `images` and `tokens`, as for `Denoise`.

    Args:
        players: The whole net, in which the vector lies while it learns.
        weighting: As `Denoise` has it.
    """

    players: tuple[str, ...] = ("",)
    weighting: str = "native"

    def prepare(self, model: Model[Net], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """The batch as it is: what the net is told depends on what is learned."""
        return batch

    def __call__(self, model: Model[Net], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Summed over rows, each as often as its weight."""
        sigma, noise = draw(config_of(model).path, rng), rng.normal("noise", *micro["images"].shape[1:])
        if "told" in micro:
            told = Caption(micro["told"], micro["pooled"])
        else:
            told = in_slots(model, *encoder_of(model).features(micro["tokens"]))
        losses = error(model, micro["images"], noise, sigma, told) * weight(model, sigma, self.weighting)
        counts = micro.get("weight", torch.ones_like(losses))
        return Loss((counts * losses).sum(), counts.sum())


def learning(model: Model[Net], word: str, initial: str) -> Model[Net]:
    """A model with a word's vector in its net, as all that can learn, and a tower that knows the word.

    Args:
        model: Its net is changed in place.
        word: One that is no token yet.
        initial: Words whose mean it begins at; those that the word itself is made of, if empty.

    Raises:
        UserError: The model reads no texts, or with other towers than one CLIP; or the word cannot be learned.
    """
    text = tower_of(model)
    pieces = [each for each in text.codec.ids([initial or word])[0].tolist() if each not in marks(text)]
    if not pieces:
        raise InputError("no words to begin at", where="word.initial", value=initial, fix="name some, such as 'cat'")
    start = text.net.get_parameter(TABLE).detach()[pieces].mean(0)
    known = with_word(text, word, start)
    model.net.requires_grad_(False)
    model.net.register_parameter("word", nn.Parameter(start.to(model.device)))
    return replace(model, parts={**model.parts, "text": LearningText(known, model.net.get_parameter("word"))})


def marks(text: ClipText) -> tuple[int, ...]:
    """The tokens that mean nothing themselves."""
    return text.codec.start_id, text.codec.end_id, text.codec.pad_id


def tower_of(model: Model[Any]) -> ClipText:
    """The one CLIP that reads texts for a model.

    Raises:
        ModelError: Nothing does, or something else, or two different ones.
    """
    if not reads(model):
        raise ModelError("this model reads no texts", fix="begin from one that does: init = '@scenes-t2i'")
    text = encoder_of(model)
    if not isinstance(text, ClipText):
        fix = "begin from a model with one CLIP in both slots"
        raise ModelError("a word is learned in one CLIP", where="parts.text", value=type(text).__name__, fix=fix)
    return text


def with_word(text: ClipText, word: str, vector: Float[Tensor, " width"]) -> ClipText:
    """A tower that knows one more word; what it says of texts without it is the same, to the bit.

    Raises:
        InputError: The word cannot be one, or is a token already, or the vector has another width.
    """
    codec, net = text.codec.with_word(word), copy.deepcopy(text.net)
    if vector.shape != (text.width,):
        value, fix = f"{tuple(vector.shape)}, and {text.width} fits", "open it over the model that it was made for"
        raise InputError("the word's vector has another width than the tower's", where=word, value=value, fix=fix)
    table, place = net.get_parameter(TABLE).detach(), codec.vocab_size - 1
    grown = F.pad(table, (0, 0, 0, max(0, codec.vocab_size - len(table))))
    grown[place] = vector
    net.text_model.embeddings.token_embedding = nn.Embedding.from_pretrained(grown, freeze=False)
    # Old towers take the largest token for the end, which it is not any more.
    known = {"vocab_size": len(grown), "eos_token_id": codec.end_id}
    net.text_model.config = net.text_model.config.model_copy(update=known)
    return ClipText(net.eval(), codec)


def settled(model: Model[Net], source: Source) -> Model[Net]:  # noqa: ARG001
    """A model that has learned its word: the vector is a row of its tower's table, and the net as it was."""
    text = model.parts.get("text")
    if not isinstance(text, LearningText):
        return model
    found = text.settled()
    model.net.register_parameter("word", None)
    return replace(model, parts={**model.parts, "text": found})


def save_word(model: Model[Net], folder: Path) -> None:
    """Write the word learned last, if one was, as diffusers takes it."""
    text = model.parts.get("text")
    if isinstance(text, ClipText) and text.codec.words:
        word, place = list(text.codec.words.items())[-1]
        save_tensors(folder / LEARNED, {word: text.net.get_parameter(TABLE)[place]})


def read_word(file: Path) -> tuple[str, Tensor] | None:
    """The word in a file of diffusers and its vector; None where the file holds something else.

    Raises:
        ModelError: It is damaged.
    """
    tensors = load_tensors(file)
    word, vector = next(iter(tensors.items()), ("", torch.empty(0, 0)))
    flat = vector[0] if vector.ndim == 2 and len(vector) == 1 else vector  # noqa: PLR2004
    return (word, flat.float()) if len(tensors) == 1 and flat.ndim == 1 else None


def taught(model: Model[Net], word: str, vector: Float[Tensor, " width"]) -> Model[Net]:
    """A model whose tower knows one more word.

    Raises:
        UserError: As `tower_of` and `with_word`.
    """
    return replace(model, parts={**model.parts, "text": with_word(tower_of(model), word, vector)})
