"""Byte-level BPE: any text to token ids and back, exactly.

A document is data. Text that spells a special token, such as "<|im_end|>" on a web page, stays text: only
`template_ids`, for templates that the program itself wrote, turns such spellings into special tokens.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, final

import torch
from tokenizers import AddedToken, Encoding, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from makar.codecs.stream import TextStream, token_bytes
from makar.core.errors import InputError, ModelError, RecipeError
from makar.core.files import mending, write_atomic, write_json
from makar.core.nouns import Batch

PRE_TOKENIZER = "qwen2"
"""What llama.cpp calls the split below; transformers 5 applies the same one to every folder of the type `qwen2`."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

LINE_START = re.compile(r"(?<=\n)(?=\w)")
"""A place that `SPLIT` always cuts at, whatever stands around it: a text may be encoded in parts that end there."""

PART_CHARACTERS = 2**16

END = "<|endoftext|>"
"""Opens every document, and so also ends the one before."""

PAD = "<|pad|>"

SPECIAL = (
    END,
    "<|im_start|>",
    "<|im_end|>",
    PAD,
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|reserved_0|>",
    "<|reserved_1|>",
    "<|reserved_2|>",
)
"""Ids 0 to 15 of every tokenizer trained here, so that later stages find their tokens in an early model."""

SMALLEST = len(SPECIAL) + 256


@final
class Bpe:
    """A tokenizer with the folder it came from; implements `core.nouns.Codec` for lists of texts.

    Args:
        source: The text of tokenizer.json, kept as it is: a saved copy is the same file.
        settings: The content of tokenizer_config.json, and the chat template.
        ends: Ids of further tokens that end an answer, such as the end of a turn.

    Raises:
        ModelError: Not a tokenizer, or it names no end-of-text token.
    """

    def __init__(self, source: str, settings: Mapping[str, Any], ends: Sequence[int] = ()) -> None:
        self.source = source
        self.settings = dict(settings)
        refuse_prefix(source)
        try:
            self._tokenizer = Tokenizer.from_str(source)
        except Exception as fault:  # the library raises bare Exception
            raise ModelError(f"tokenizer.json is not a tokenizer: {fault}", fix="copy the folder again") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # to the library: treat their spelling as text
        added = self._tokenizer.get_added_tokens_decoder()
        self.special: dict[str, int] = {token.content: number for number, token in added.items() if token.special}
        self._added = frozenset(token.content for token in added.values())
        self.vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        end, pad = self._named("eos_token"), self._named("pad_token")
        if end is None:
            raise ModelError(
                "the tokenizer names no end-of-text token", fix="give 'eos_token' in tokenizer_config.json"
            )
        self.end_id: int = end
        self.pad_id: int = end if pad is None else pad
        self.ends: tuple[int, ...] = tuple(dict.fromkeys((*ends, end)))
        """What ends an answer: the end of a turn, where the model takes turns, and the end of the text."""

        plain, whole = self._encode("a"), self._tokenizer.encode("a").ids
        before = next((k for k in range(len(whole)) if whole[k : k + len(plain)] == plain), 0)
        self.start: list[int] = whole[:before]
        """What the tokenizer itself puts before a text."""
        self.opener: list[int] = self.start or [self.end_id]
        """What opens a document in training; Qwen's tokenizer puts nothing before a text, but its corpora do."""
        self.closer: list[int] = [] if self.opener[-1] == self.end_id else [self.end_id]
        """What ends a document in training, unless the next one's opener does."""

    @staticmethod
    def load(folder: Path) -> "Bpe":
        """Open a tokenizer folder of makar's or of the ecosystem's.

        Raises:
            ModelError: No tokenizer.json, or a damaged one.
        """
        if not (folder / "tokenizer.json").is_file():
            raise ModelError("no tokenizer.json", where=folder, fix="copy the whole model folder")
        settings: dict[str, Any] = {}
        try:
            for name in ("tokenizer_config.json", "special_tokens_map.json"):
                if (folder / name).is_file():
                    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
                    settings |= {key: value for key, value in found.items() if key not in settings}
            if (folder / "chat_template.jinja").is_file():
                settings["chat_template"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
            return Bpe((folder / "tokenizer.json").read_text(encoding="utf-8"), settings)
        except ModelError as fault:
            raise ModelError(fault.what, where=folder, value=fault.value, fix=fault.fix) from None
        except ValueError as fault:  # broken JSON, broken UTF-8
            raise ModelError(f"not a tokenizer: {fault}", where=folder, fix="copy the folder again") from None

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json, as transformers reads them.

        A chat template lies beside them in chat_template.jinja; several of them, by name, stay in the settings.
        """
        with mending(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "tokenizer.json", self.source)
        settings = dict(self.settings)
        if isinstance(settings.get("chat_template"), str):
            write_atomic(folder / "chat_template.jinja", settings.pop("chat_template"))
        write_json(folder / "tokenizer_config.json", settings)
        write_json(
            folder / "special_tokens_map.json", {k: v for k, v in self.settings.items() if k.endswith("_token") and v}
        )

    def speaking(self, ends: Sequence[int], chat_template: str | None = None) -> "Bpe":
        """The same tokenizer for a model that takes turns.

        Args:
            ends: Ids of tokens that end an answer, besides the end of the text.
            chat_template: How a conversation is written, in Jinja; None leaves it as it is.
        """
        more = {} if chat_template is None else {"chat_template": chat_template}
        return Bpe(self.source, self.settings | more, ends)

    @cached_property
    def chat_template(self) -> str | None:
        """How a conversation is written, in Jinja; of several, the one named "default"."""
        found: Any = self.settings.get("chat_template")
        if isinstance(found, list):
            found = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}.get("default")
        return found if isinstance(found, str) else None

    @cached_property
    def hash(self) -> str:
        """SHA-256 of tokenizer.json in canonical form: sorted keys, no white space."""
        canonical = json.dumps(json.loads(self.source), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def ids(self, text: str, start: bool = True) -> list[int]:  # noqa: FBT001, FBT002
        """Token ids of a text; spellings of special tokens in it stay text.

        Args:
            text: Any text.
            start: Put before it what opens a text (`<|endoftext|>` for tokenizers trained here).

        Raises:
            InputError: The text holds half of a surrogate pair, which no file in UTF-8 can hold.
        """
        return (self.start if start else []) + self._encode(text)

    def batch_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of whole documents, each with what opens it and, where the opener is not the end token, ends it."""
        return [[*self.opener, *ids, *self.closer] for ids in self.plain_ids(texts)]

    def plain_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of pieces of text, with nothing before or after; all cores at once, a book as well."""
        parts = [cut(text, PART_CHARACTERS) if self._cuttable else [text] for text in texts]
        try:
            found = iter(self._tokenizer.encode_batch_fast(list(chain(*parts)), add_special_tokens=False))
        except TypeError:
            for text in texts:
                self._encode(text)
            raise
        return [list(chain.from_iterable(next(found).ids for _ in part)) for part in parts]

    def template_ids(self, text: str) -> list[int]:
        """Token ids of a template that the program itself wrote: spellings of special tokens become those tokens."""
        return self.template_tokens(text)[0]

    def template_tokens(self, text: str, guard: str = "") -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids as `template_ids` gives them, and the characters of the text that each stands for.

        Args:
            text: A template with its contents filled in.
            guard: A character that stands inside spellings that must stay text; it is left out of the text.
        """
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        begin = 0
        for place, piece in enumerate(self._spellings.split(text)):
            plain = piece.replace(guard, "") if guard else piece
            if place % 2:
                ids.append(self.special[piece.strip()])
                spans.append((begin, begin + len(plain)))
            elif plain:
                found = self._encoding(plain)
                ids += found.ids
                spans += [(begin + first, begin + last) for first, last in found.offsets]
            begin += len(plain)
        return ids, spans

    def text(self, ids: Iterable[int], special: bool = False) -> str:  # noqa: FBT001, FBT002
        """The text of token ids; bytes that are not UTF-8 become U+FFFD.

        Args:
            ids: Token ids; those past the vocabulary stand for nothing.
            special: Spell special tokens out instead of leaving them out.
        """
        stream = self.stream(special=special)
        return "".join([*map(stream.push, ids), stream.flush()])

    def stream(self, *, special: bool = False) -> TextStream:
        """A decoder for ids that arrive one at a time."""
        table, bare, strip = self._tables
        return TextStream(table if special else bare, strip=strip)

    def encode(self, items: list[str]) -> Batch:
        """Texts to `tokens` [rows, longest], padded on the right, and `lengths` [rows], both int64."""
        rows = [torch.tensor(self.ids(item), dtype=torch.int64) for item in items]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad_id)
        return {"tokens": tokens, "lengths": torch.tensor([len(row) for row in rows])}

    def decode(self, batch: Batch) -> list[str]:
        """`tokens` and `lengths` back to texts."""
        pairs = zip(batch["tokens"].tolist(), batch["lengths"].tolist(), strict=True)
        return [self.text(ids[:length]) for ids, length in pairs]

    def _encode(self, text: str) -> list[int]:
        return self._encoding(text).ids

    def _encoding(self, text: str) -> Encoding:
        try:
            return self._tokenizer.encode(text, add_special_tokens=False)
        except TypeError:
            near = re.search("[\ud800-\udfff]", text)
            if near is None:
                raise
            raise InputError(
                "text holds half of a surrogate pair",
                where=f"character {near.start()}",
                value=text[max(0, near.start() - 20) : near.start() + 20],
                fix="read it as UTF-8",
            ) from None

    def _named(self, role: str) -> int | None:
        """The id of the token that the settings give a role: a string, or an object with its content."""
        token = self.settings.get(role)
        content = token.get("content") if isinstance(token, dict) else token
        return self._tokenizer.token_to_id(content) if isinstance(content, str) else None

    @cached_property
    def _cuttable(self) -> bool:
        """Whether the tokenizer splits as ours do and changes no character before that."""
        data = json.loads(self.source)
        steps = (data["pre_tokenizer"] or {}).get("pretokenizers") or [{}]
        return data["normalizer"] is None and steps[0].get("pattern") == {"Regex": SPLIT}

    @cached_property
    def _spellings(self) -> re.Pattern[str]:
        """The special tokens, longest first; some take the white space beside them along."""
        added = self._tokenizer.get_added_tokens_decoder()
        longest_first = sorted((added[number] for number in self.special.values()), key=lambda t: -len(t.content))
        spaced = [(t, r"\s*" * t.lstrip, r"\s*" * t.rstrip) for t in longest_first]
        return re.compile("|".join(f"{left}{re.escape(t.content)}{right}" for t, left, right in spaced).join("()"))

    @cached_property
    def _tables(self) -> tuple[list[bytes], list[bytes], bool]:
        """The bytes of each id, the same with special tokens empty, and whether a leading space is dropped."""
        tokens = [self._tokenizer.id_to_token(number) for number in range(self.vocab_size)]
        table, strip = token_bytes(tokens, self._added, json.loads(self.source)["decoder"])
        bare = list(table)
        for number in self.special.values():
            bare[number] = b""
        return table, bare, strip


def refuse_prefix(source: str) -> None:
    """Refuse merges under a prefix: the library cuts it off each token by bytes, and dies inside a character.

    Raises:
        ModelError: The tokenizer has one; no byte-level BPE has.
    """
    try:
        model = json.loads(source)["model"]
    except (ValueError, KeyError, TypeError):
        return  # no tokenizer at all: the library says so
    if isinstance(model, dict) and model.get("continuing_subword_prefix"):
        raise ModelError("the tokenizer is no byte-level BPE", fix="open a model of the Llama, Mistral or Qwen kind")


def cut(text: str, size: int) -> list[str]:
    """Cut a long text at starts of lines into parts of at least `size` characters.

    The tokenizers library takes 140 bytes for each character of one text, and one core: a book is best given in parts.
    """
    parts: list[str] = []
    begin = 0
    while len(text) - begin > size and (place := LINE_START.search(text, begin + size)):
        parts.append(text[begin : place.start()])
        begin = place.start()
    return [*parts, text[begin:]]


def train_bpe(texts: Iterable[str], vocab_size: int) -> Bpe:
    """Train a byte-level BPE tokenizer; the same texts give the same tokenizer.json, byte for byte.

    Args:
        texts: The documents, read once.
        vocab_size: Number of ids, the 16 special tokens and 256 bytes included; the result has fewer where the
            text runs out of pairs that occur twice.

    Raises:
        RecipeError: The vocabulary cannot hold even the bytes.
        InputError: There is no text.

    Paper: Sennrich et al. 2016, arXiv:1508.07909, algorithm 1; over bytes as in GPT-2.
    """
    if vocab_size < SMALLEST:
        raise RecipeError("the vocabulary is too small", value=vocab_size, fix=f"at least {SMALLEST}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    characters = 0

    def counted() -> Iterator[str]:
        nonlocal characters
        for text in texts:
            characters += len(text)
            yield text

    tokenizer.train_from_iterator(counted(), trainer)
    if characters == 0:
        raise InputError("no text to train a tokenizer on", fix="give a dataset that is not empty")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, SPECIAL.index(END))]
    )
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
    }
    return Bpe(tokenizer.to_str(pretty=True) + "\n", settings)
