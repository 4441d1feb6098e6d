"""The tokenizer inside a GGUF file: byte-level BPE (the kind "gpt2") to and from tokenizer.json.

How a text is split before merging is not written in the file: it has a name, and each reader must know what it means.
`PRE_TOKENIZERS` is the table of the names known here, with the splits that llama.cpp applies.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gguf import TokenType
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from makar.codecs.bpe import SPLIT, Bpe
from makar.core.errors import ModelError, UserError
from makar.interop.gguf_file import Gguf

LLAMA_3_SPLIT = SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def split_by(pattern: str) -> Any:
    """One regular expression, then bytes."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def gpt2(*, digits: bool) -> Any:
    """GPT-2's own split, after each digit is set apart where asked for."""
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), last]) if digits else last


PRE_TOKENIZERS: Mapping[str, Any] = {
    "qwen2": split_by(SPLIT),
    "llama-bpe": split_by(LLAMA_3_SPLIT),
    "smollm": gpt2(digits=True),
    "gpt-2": gpt2(digits=False),
}

WHOLE_WORDS = ("llama-bpe",)
"""Tokenizers that take a word which is a token as that token, whatever its merges say."""

STARTS = ("llama-bpe",)
"""Tokenizers that begin every text with the token bos unless the file says otherwise."""

ROLES: Mapping[str, str] = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
"""Tokens with a role: what tokenizer_config.json and what the file calls it."""

TURN_ENDS = ("eot_token_id", "eom_token_id")
"""Tokens that end a turn, or a message within one."""

GGML = "tokenizer.ggml."


def read_tokenizer(file: Gguf) -> Bpe:
    """The tokenizer of a file, with its chat template.

    Raises:
        ModelError: It is of another kind, incomplete, or does not fit together.
    """
    meta = file.metadata
    kind, pre = meta.get(f"{GGML}model"), meta.get(f"{GGML}pre")
    if kind != "gpt2":
        raise file.fault("a tokenizer of another kind than byte-level BPE", kind, "import the transformers folder")
    if not isinstance(pre, str) or pre not in PRE_TOKENIZERS:
        known = ", ".join(PRE_TOKENIZERS)
        raise file.fault("unknown split of the tokenizer", pre, f"makar knows these: {known}")
    tokens, types = texts(file, "tokens"), meta.get(f"{GGML}token_type")
    if not isinstance(types, list) or len(types) != len(tokens) or not tokens:
        raise file.fault("tokens and their types are not equally many", len(tokens))
    while tokens and types[-1] == TokenType.UNUSED:  # rows of the embedding beyond the tokenizer
        tokens, types = tokens[:-1], types[:-1]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise file.fault("a token is there twice")
    named = roles(file, tokens)
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges(file, vocabulary), ignore_merges=pre in WHOLE_WORDS)  # pyright: ignore[reportArgumentType]
    )
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre]
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            AddedToken(token, special=kind != TokenType.USER_DEFINED, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if token and kind in (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED)
        ]
    )
    bos = named.get("bos_token")
    if bos is not None and meta.get(f"{GGML}add_bos_token", pre in STARTS):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocabulary[bos])]
        )
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "clean_up_tokenization_spaces": False,
    }
    template = meta.get("tokenizer.chat_template")
    if isinstance(template, str):
        settings["chat_template"] = template
    try:
        return Bpe(tokenizer.to_str(pretty=True) + "\n", settings, turn_ends(file, len(tokens)))
    except UserError as fault:
        raise file.fault(fault.what, fault.value, fault.fix) from None


def texts(file: Gguf, key: str) -> list[str]:
    """A list of texts of the metadata.

    Raises:
        ModelError: There is none.
    """
    found = file.metadata.get(GGML + key)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise file.fault(f"the file has no {GGML}{key}", fix="import the transformers folder")
    return found


def merges(file: Gguf, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """The merges as pairs, each of which makes a token from two.

    Raises:
        ModelError: One does not.
    """
    found: list[tuple[str, str]] = []
    for merge in texts(file, "merges"):
        left, _, right = merge.partition(" ")
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise file.fault("a merge whose parts or whole are no tokens", merge)
        found.append((left, right))
    return found


def roles(file: Gguf, tokens: Sequence[str]) -> dict[str, str]:
    """The tokens that have a role, by the names of tokenizer_config.json.

    Raises:
        ModelError: One is not in the vocabulary, or the end-of-text token is not said.
    """
    found: dict[str, str] = {}
    for role, key in ROLES.items():
        number = file.metadata.get(GGML + key)
        if number is None:
            continue
        if not isinstance(number, int) or not 0 <= number < len(tokens):
            raise file.fault(f"{GGML}{key} is no token", number)
        found[role] = tokens[number]
    if "eos_token" not in found:
        raise file.fault(f"the file has no {GGML}eos_token_id")
    return found


def turn_ends(file: Gguf, count: int) -> list[int]:
    """The tokens beside the end-of-text token that end an answer."""
    found = [file.metadata.get(GGML + key) for key in TURN_ENDS]
    return [number for number in found if isinstance(number, int) and 0 <= number < count]


def write_tokenizer(codec: Bpe, vocab_size: int) -> dict[str, Any]:
    """A tokenizer as the metadata of a file.

    Args:
        codec: The tokenizer.
        vocab_size: Rows of the embedding; those beyond the tokenizer become unused tokens.

    Raises:
        ModelError: llama.cpp would split a text in another way.
    """
    data = json.loads(codec.source)
    model = data["model"]
    pre = next((name for name, known in PRE_TOKENIZERS.items() if same_split(data, name, known)), None)
    if pre is None or model.get("type") != "BPE" or model.get("byte_fallback"):
        known = ", ".join(PRE_TOKENIZERS)
        raise ModelError("the tokenizer splits text as no tokenizer known to GGUF", fix=f"makar writes: {known}")
    tokens = [f"[PAD{number}]" for number in range(vocab_size)]
    types = [TokenType.UNUSED] * vocab_size
    for token, number in model["vocab"].items():
        tokens[number], types[number] = token, TokenType.NORMAL
    for added in data["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    pairs = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    found: dict[str, Any] = {
        f"{GGML}model": "gpt2",
        f"{GGML}pre": pre,
        f"{GGML}tokens": tokens,
        f"{GGML}token_type": types,
        f"{GGML}merges": pairs,
        f"{GGML}add_bos_token": bool(codec.start),
        f"{GGML}add_space_prefix": False,
    }
    for role, key in ROLES.items():
        token = codec.settings.get(role)
        content = token.get("content") if isinstance(token, dict) else token
        if content in tokens:
            found[GGML + key] = tokens.index(content)
    if codec.start:
        found[f"{GGML}bos_token_id"] = codec.start[0]
    others = [number for number in codec.ends if number != codec.end_id]
    found |= {GGML + key: number for key, number in zip(TURN_ENDS, others, strict=False)}
    if codec.chat_template is not None:
        found["tokenizer.chat_template"] = codec.chat_template
    return found


def same_split(data: Mapping[str, Any], name: str, known: Any) -> bool:
    """Whether a tokenizer.json splits text as a name of GGUF says."""
    empty = Tokenizer(models.BPE())
    empty.pre_tokenizer = known
    whole_words = bool(data["model"].get("ignore_merges"))
    same = steps(data["pre_tokenizer"]) == steps(json.loads(empty.to_str())["pre_tokenizer"])
    return same and whole_words == (name in WHOLE_WORDS)


def steps(pre_tokenizer: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a split, less what moves offsets alone."""
    given = pre_tokenizer or {}
    return [{k: v for k, v in step.items() if k != "trim_offsets"} for step in given.get("pretokenizers", [given])]
