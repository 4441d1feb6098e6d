"""How well a model foretells text, in bits per byte: comparable whatever the tokenizer, and with a compressor's figure.

A document is scored as the model was trained on it: after the token that opens it, every token of its own, and then the
end token. Its bytes are its UTF-8 bytes and one newline.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, Int
from torch import Tensor

LogProbs = Callable[[Int[Tensor, "rows length"]], Float[Tensor, "rows predicted"]]
"""Natural log-probabilities of all tokens of each row but the first, given those before them."""

Encode = Callable[[list[str]], list[list[int]]]
"""Documents to token ids, each with what opens it and the end token."""

DOCUMENTS = 256
"""Documents encoded at a time: so much text is in memory, whatever the corpus."""

TOKENS = 4096
"""Tokens in a batch, padding included."""


@dataclass(frozen=True)
class Likelihood:
    """How well a model foretells some documents.

    Args:
        documents: How many.
        bytes: Their UTF-8 bytes, with one newline for each.
        words: Their words, parted by white space.
        tokens: Tokens foretold, each once: the documents' own, and one end token for each.
        bits: Negative log2-likelihood of all tokens together.
        error: Standard error of the bits per byte over documents; 0 for fewer than two.
        context: Tokens of context that the model has at most.
        stride: Tokens from one window of a long document to the next; half the context or more precedes what is scored.
        windowed: Documents too long for one window.
    """

    documents: int
    bytes: int
    words: int
    tokens: int
    bits: float
    error: float
    context: int
    stride: int
    windowed: int

    @property
    def bits_per_byte(self) -> float:
        """Lower is better; 8 says nothing at all."""
        return self.bits / max(1, self.bytes)

    @property
    def perplexity(self) -> float:
        """Per token; comparable only under the same tokenizer."""
        return exp2(self.bits / max(1, self.tokens))

    @property
    def word_perplexity(self) -> float:
        """All bits, those of spaces and ends included, over the words."""
        return exp2(self.bits / max(1, self.words))


@dataclass(frozen=True)
class Window:
    """A stretch of a document, `tokens[start:end]`, of which the tokens from `first` on are scored."""

    document: int
    start: int
    end: int
    first: int


def likelihood(log_probs: LogProbs, encode: Encode, texts: Iterable[str], context: int) -> Likelihood:
    """Score documents: each token of each exactly once, a long document in overlapping windows.

    Args:
        log_probs: The model.
        encode: Its tokenizer.
        texts: The documents, read once.
        context: The most tokens that the model reads at once.
    """
    stride = max(1, context // 2)
    documents = words = tokens = windowed = 0
    bits = size = bits_bits = bits_size = size_size = 0.0
    remaining = iter(texts)
    while group := list(islice(remaining, DOCUMENTS)):
        rows = encode(group)
        sizes = torch.tensor([len(text.encode()) + 1 for text in group], dtype=torch.float64)
        found = score(log_probs, rows, context, stride)
        documents += len(group)
        words += sum(len(text.split()) for text in group)
        tokens += sum(len(row) - 1 for row in rows)
        windowed += sum(len(row) > context + 1 for row in rows)
        bits, size = bits + float(found.sum()), size + float(sizes.sum())
        bits_bits, bits_size = bits_bits + float(found @ found), bits_size + float(found @ sizes)
        size_size += float(sizes @ sizes)
    ratio = bits / max(1.0, size)
    # The ratio of two sums over documents: the variance of its residuals, by the delta method.
    residue = max(0.0, bits_bits - 2 * ratio * bits_size + ratio**2 * size_size)
    error = math.sqrt(residue * documents / (documents - 1)) / size if documents > 1 else 0.0
    return Likelihood(documents, int(size), words, tokens, bits, error, context, stride, windowed)


@torch.no_grad()
def score(log_probs: LogProbs, rows: Sequence[Sequence[int]], context: int, stride: int) -> Float[Tensor, " documents"]:
    """Negative log2-likelihood of each document, float64."""
    found = torch.zeros(len(rows), dtype=torch.float64)
    windows = [window for number, row in enumerate(rows) for window in cut(number, len(row), context, stride)]
    windows.sort(key=lambda window: window.start - window.end)
    for batch in batches(windows):
        longest = batch[0].end - batch[0].start
        # Padding stands on the right, where no token before it sees it.
        padded = [[*rows[w.document][w.start : w.end], *[0] * (longest - w.end + w.start)] for w in batch]
        values = log_probs(torch.tensor(padded)).double().cpu()
        for window, row in zip(batch, values, strict=True):
            found[window.document] -= row[window.first - window.start - 1 : window.end - window.start - 1].sum()
    return found / math.log(2)


def cut(document: int, length: int, context: int, stride: int) -> Iterator[Window]:
    """The windows of a document: the first scores all it predicts, the others what is new in them, at most a stride."""
    end = min(length, context + 1)
    yield Window(document, 0, end, 1)
    while end < length:
        first, end = end, min(length, end + stride)
        yield Window(document, end - context - 1, end, first)


def batches(windows: Sequence[Window]) -> Iterator[Sequence[Window]]:
    """Windows, longest first, in batches of bounded size once padded to their longest."""
    start = 0
    while start < len(windows):
        count = max(1, TOKENS // (windows[start].end - windows[start].start))
        yield windows[start : start + count]
        start += count


def exp2(bits: float) -> float:
    """Two to a power; infinite where that is beyond a float."""
    return 2.0**bits if bits < 1024 else math.inf
