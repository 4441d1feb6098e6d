"""Token ids back to text, whole characters only: what a reader sees while a model still writes."""

import codecs
from collections.abc import Sequence
from typing import Any, final

from makar.core.errors import ModelError


def byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in a byte-level vocabulary, and the byte it stands for.

    Bytes that print in Latin-1 stand for themselves; the other 68 take the code points from 256 on, in order.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(rest)}


def token_bytes(tokens: Sequence[str | None], added: frozenset[str], decoder: Any) -> tuple[list[bytes], bool]:
    """The bytes that each token stands for.

    Args:
        tokens: The vocabulary in the order of the ids; None where an id has no token.
        added: Tokens that stand for their own spelling.
        decoder: The `decoder` part of tokenizer.json.

    Returns:
        One bytes object for each id, and whether one space at the very start of a text is an artefact to drop.

    Raises:
        ModelError: The decoder is of a kind whose tokens have no bytes of their own.
    """
    whole: dict[str, Any] = decoder or {"type": None}
    steps: list[dict[str, Any]] = whole.get("decoders", [whole])
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        alphabet = byte_alphabet()

        def spell(token: str) -> bytes:
            return bytes(alphabet[c] for c in token) if all(c in alphabet for c in token) else token.encode()

        strip = False
    elif kinds[:2] == ["Replace", "ByteFallback"]:  # SentencePiece as Llama 2 and the first Mistral have it
        marks = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}

        def spell(token: str) -> bytes:
            return marks.get(token) or token.replace(steps[0]["pattern"]["String"], steps[0]["content"]).encode()

        strip = "Strip" in kinds
    else:
        raise ModelError(
            "tokenizer.json has a decoder that makar does not know",
            value=kinds,
            fix="use a byte-level BPE tokenizer (Llama 3, Qwen, SmolLM2) or a SentencePiece BPE one (Llama 2, Mistral)",
        )
    return [b"" if t is None else t.encode() if t in added else spell(t) for t in tokens], strip


@final
class TextStream:
    """Decodes ids one at a time. What `push` and `flush` return, joined, is the text of all the ids.

    Args:
        table: The bytes of each id; ids past its end, which a padded embedding can produce, stand for nothing.
        strip: Drop one space at the start.
    """

    def __init__(self, table: Sequence[bytes], *, strip: bool = False) -> None:
        self._table = table
        self._strip = strip
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that this token completes; an unfinished one waits for its remaining bytes."""
        data = self._table[token] if 0 <= token < len(self._table) else b""
        if self._strip and data:
            data, self._strip = data.removeprefix(b" "), False
        return self._decoder.decode(data)

    def flush(self) -> str:
        """The end of the text: U+FFFD if it stops inside a character, else nothing."""
        return self._decoder.decode(b"", final=True)
