"""CLIP's tokenizer: lower-cased words to the pieces of a byte-level BPE that knows where a word ends.

A caption becomes a row of one length: its start, its pieces, its end, and padding. Folders are those that transformers'
`CLIPTokenizer` opens, and gives the same ids. Paper: arXiv 2103.00020, section 2.4.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Int
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from makar.core.errors import InputError, ModelError, RecipeError
from makar.core.files import mending, read_object, write_atomic, write_json
from makar.core.nouns import Batch

START, END = "<|startoftext|>", "<|endoftext|>"

WORD_END = "</w>"
"""Behind the last piece of a word."""

SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

SMALLEST = 2 + 2 * 256
"""The start, the end, and each byte within a word and at its end."""

KNOWN = "known_characters"
"""In tokenizer_config.json: what the captions were written with that it was trained on."""

LONGEST = 77
"""Tokens of a row where a folder does not say: OpenAI's."""


@final
class Captions:
    """Captions to rows of tokens; implements `core.nouns.Codec`.

    Args:
        source: The text of tokenizer.json, kept as it is.
        settings: The content of tokenizer_config.json.

    Raises:
        ModelError: Not a tokenizer, or it does not say what begins and ends a text.
    """

    def __init__(self, source: str, settings: Mapping[str, Any]) -> None:
        self.source, self.settings = source, dict(settings)
        try:
            self._tokenizer = Tokenizer.from_str(source)
        except Exception as fault:  # the library raises bare Exception
            raise ModelError(f"tokenizer.json is not a tokenizer: {fault}", fix="copy the folder again") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # to the library: treat their spelling as text
        self.vocab_size: int = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        start, end, pad = (self._named(role) for role in ("bos_token", "eos_token", "pad_token"))
        if start is None or end is None:
            raise ModelError("the tokenizer does not say what begins and ends a text", fix="copy the folder again")
        self.start_id, self.end_id, self.pad_id = start, end, end if pad is None else pad
        said = settings.get("model_max_length")
        self.length: int = said if isinstance(said, int) and 2 < said < 2**20 else LONGEST  # noqa: PLR2004

    @staticmethod
    def load(folder: Path) -> "Captions":
        """Open a folder with tokenizer.json, or one of old with vocab.json and merges.txt.

        Raises:
            ModelError: Neither is there, or they are damaged.
        """
        settings: dict[str, Any] = {}
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            if (folder / name).is_file():
                settings = read_object(folder / name) | settings
        settings = {"bos_token": START, "eos_token": END} | settings
        try:
            if (folder / "tokenizer.json").is_file():
                return Captions((folder / "tokenizer.json").read_text(encoding="utf-8"), settings)
            lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
            merges = [(a, b) for a, _, b in (line.partition(" ") for line in lines if not line.startswith("#")) if b]
            return Captions(tokenizer_of(read_object(folder / "vocab.json"), merges), settings)
        except FileNotFoundError:
            raise ModelError("no tokenizer.json", where=folder, fix="copy the whole model folder") from None
        except ModelError as fault:
            raise ModelError(fault.what, where=fault.where or folder, value=fault.value, fix=fault.fix) from None
        except ValueError as fault:  # broken UTF-8
            raise ModelError(f"not a tokenizer: {fault}", where=folder, fix="copy the folder again") from None

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, vocab.json, merges.txt and tokenizer_config.json, as transformers reads them."""
        with mending(folder):
            folder.mkdir(parents=True, exist_ok=True)
        model = json.loads(self.source)["model"]
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        write_atomic(folder / "tokenizer.json", self.source)
        write_atomic(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
        write_json(folder / "vocab.json", model["vocab"])
        write_json(folder / "tokenizer_config.json", self.settings)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of tokenizer.json in canonical form, and of the length of a row."""
        canonical = json.dumps([json.loads(self.source), self.length, self.pad_id], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def ids(self, captions: Sequence[str]) -> Int[Tensor, "rows length"]:
        """Rows of captions that a reader wrote; an empty one is a start and an end.

        Raises:
            InputError: A caption is too long, or nothing in it is known.
        """
        found = self._pieces(captions)
        for caption, row in zip(captions, found, strict=True):
            if self.unknown(caption):
                fix = "write it in the words that the model was trained on"
                raise InputError("nothing in the caption is known to the model", value=caption, fix=fix)
            if len(row) > self.length - 2:
                fix = f"the model reads {self.length - 2}: say it in fewer words"
                raise InputError("the caption is too long", where=shown(caption), value=f"{len(row)} tokens", fix=fix)
        return self._rows(found)

    def rows(self, captions: Sequence[str]) -> Int[Tensor, "rows length"]:
        """Rows of captions that a dataset holds: what is too long loses its end, as CLIP was trained."""
        return self._rows([row[: self.length - 2] for row in self._pieces(captions)])

    @cached_property
    def words(self) -> dict[str, int]:
        """Words that were added as tokens of their own, in the order of their ids."""
        added = json.loads(self.source).get("added_tokens", [])
        return {each["content"]: each["id"] for each in added if each["content"] not in (START, END)}

    def with_word(self, word: str) -> "Captions":
        """The same with one more token, for a word of its own.

        Raises:
            InputError: It cannot be a word, or is a token already.
        """
        if not word or word in (START, END) or word != "".join(word.lower().split()):
            fix = "write it small and without blanks, such as '<mine>'"
            raise InputError("this cannot be a word", value=word, fix=fix)
        if len(self._pieces([word])[0]) == 1:
            raise InputError("the word is a token already", value=word, fix="take a rarer one, such as '<mine>'")
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
        found = json.loads(self.source)
        found["added_tokens"] = [*found["added_tokens"], {"id": self.vocab_size, "content": word, **plain}]
        known: Any = self.settings.get(KNOWN)
        more = {KNOWN: "".join(sorted({*known, *characters(word)}))} if isinstance(known, str) else {}
        return Captions(json.dumps(found, ensure_ascii=False, indent=2) + "\n", {**self.settings, **more})

    def unknown(self, caption: str) -> bool:
        """Whether all that stands in a caption are characters that the tokenizer never met."""
        known: object = self.settings.get(KNOWN)
        met = characters(caption)
        return isinstance(known, str) and bool(met) and not met & set(known)

    def text(self, ids: Iterable[int]) -> str:
        """The words of a row, lower-cased, with a blank between them."""
        plain = [number for number in ids if number not in (self.start_id, self.end_id, self.pad_id)]
        return self._tokenizer.decode(plain).replace(WORD_END, " ").strip()

    def encode(self, items: list[str]) -> Batch:
        """Captions to `tokens` [rows, length], int64."""
        return {"tokens": self.ids(items)}

    def decode(self, batch: Batch) -> list[str]:
        """`tokens` back to words."""
        return [self.text(row) for row in batch["tokens"].tolist()]

    def _pieces(self, captions: Sequence[str]) -> list[list[int]]:
        try:
            return [each.ids for each in self._tokenizer.encode_batch_fast(list(captions), add_special_tokens=False)]
        except TypeError:
            broken = next((text for text in captions if re.search("[\ud800-\udfff]", text)), None)
            if broken is None:
                raise
            fix = "read it as UTF-8"
            raise InputError("caption holds half of a surrogate pair", value=broken, fix=fix) from None

    def _rows(self, pieces: Sequence[Sequence[int]]) -> Int[Tensor, "rows length"]:
        rows = torch.full((len(pieces), self.length), self.pad_id)
        for row, found in zip(rows, pieces, strict=True):
            row[: len(found) + 2] = torch.tensor([self.start_id, *found, self.end_id])
        return rows

    def _named(self, role: str) -> int | None:
        """The id of the token that the settings give a role: a string, or an object with its content."""
        token = self.settings.get(role)
        content = token.get("content") if isinstance(token, dict) else token
        return self._tokenizer.token_to_id(content) if isinstance(content, str) else None


def shown(caption: str) -> str:
    """The beginning of a caption, to be recognised by."""
    return caption if len(caption) <= 32 else f"{caption[:32]}…"  # noqa: PLR2004


def characters(caption: str) -> set[str]:
    """What a caption is written with, as the tokenizer sees it, without blanks."""
    return set("".join(unicodedata.normalize("NFC", caption).lower().split()))


def tokenizer_of(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> str:
    """The tokenizer.json of a vocabulary and its merges, as CLIP's is put together.

    Raises:
        ModelError: They do not fit each other.
    """
    try:
        model = models.BPE(
            vocab=dict(vocabulary), merges=list(merges), continuing_subword_prefix="", end_of_word_suffix=WORD_END,
            fuse_unk=False, unk_token=END,
        )  # fmt: skip
    except Exception as fault:  # the library raises bare Exception
        raise ModelError(f"vocabulary and merges do not fit: {fault}", fix="copy the folder again") from None
    tokenizer = Tokenizer(model)
    prepare(tokenizer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (START, END)])
    known = tokenizer.get_vocab()
    ends = [(token, known[token]) for token in (END, START)]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=False, add_prefix_space=False)
    return tokenizer.to_str(pretty=True) + "\n"


def prepare(tokenizer: Tokenizer) -> None:
    """What happens to a caption before it is cut into pieces: lower-cased, one blank for many, cut at words."""
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )


def train_captions(captions: Iterable[str], vocab_size: int, length: int) -> Captions:
    """Train a tokenizer; the same captions give the same tokenizer.json, byte for byte.

    Args:
        captions: Read once.
        vocab_size: Number of ids, the start, the end and all bytes included; fewer where no pair is left.
        length: Tokens of a row, its start and its end among them.

    Raises:
        RecipeError: The vocabulary cannot hold even the bytes.
        InputError: There is no text.
    """
    if vocab_size < SMALLEST:
        raise RecipeError("the vocabulary is too small", value=vocab_size, fix=f"at least {SMALLEST}")
    met: set[str] = set()

    def noted() -> Iterator[str]:
        for caption in captions:
            met.update(characters(caption))
            yield caption

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    prepare(tokenizer)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [letter + WORD_END for letter in letters]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=ends, initial_alphabet=letters,
        end_of_word_suffix=WORD_END, show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(noted(), trainer)
    if not met:
        raise InputError("no captions to train a tokenizer on", fix="give a dataset whose pictures have texts")
    # Every byte has its own end of a word, so that no text is unknown; to the trainer they are special tokens, for it
    # numbers those that it meets itself in no certain order, and pairs that are equally frequent go by their numbers.
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]][: vocab_size - SMALLEST]
    words = [START, END, *letters, *ends, *("".join(pair) for pair in merges)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "model_max_length": length,
        KNOWN: "".join(sorted(met)),
    }
    return Captions(tokenizer_of(vocabulary, merges), settings)
