import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.evaluate import likelihood as module
from makar.evaluate.likelihood import cut, likelihood, score

END = 0


def encode(texts):
    """A toy tokenizer: a token a byte, opened and ended by 0."""
    return [[END, *text.encode(), END] for text in texts]


def uniform(vocab):
    return lambda tokens: torch.full((len(tokens), tokens.shape[1] - 1), -math.log(vocab))


def bigram(table):
    return lambda tokens: table.log_softmax(-1)[tokens[:, :-1], tokens[:, 1:]]


def test_a_uniform_model_pays_the_logarithm_of_its_vocabulary_for_each_token():
    texts = ["moon", "", "mööner" * 50]
    size = len("".join(f"{text}\n" for text in texts).encode())
    found = likelihood(uniform(512), encode, texts, context=64)
    assert (found.documents, found.bytes, found.tokens) == (3, size, size)  # one token a byte, one end token a newline
    assert found.bits_per_byte == pytest.approx(9, rel=1e-6)
    assert found.perplexity == pytest.approx(512, rel=1e-5)
    assert found.error == pytest.approx(0, abs=1e-5)  # every byte of every document costs the same
    assert (found.windowed, found.context, found.stride) == (1, 64, 32)


def test_a_bigram_model_by_hand():
    table = torch.full((256, 256), -1e9)
    table[END, ord("a")] = math.log(0.25)
    table[END, ord("b")] = math.log(0.75)
    table[ord("a"), ord("b")] = table[ord("a"), END] = math.log(0.5)
    table[ord("b"), END] = 0.0
    found = likelihood(bigram(table), encode, ["ab", "b"], context=8)
    bits = (2 + 1 + 0) + (-math.log2(0.75) + 0)
    assert found.bits == pytest.approx(bits, rel=1e-6)
    assert found.bits_per_byte == pytest.approx(bits / 5, rel=1e-6)
    assert found.word_perplexity == pytest.approx(2 ** (bits / 2), rel=1e-6)


def test_the_error_is_that_of_a_ratio_of_sums():
    table = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    texts = ["ab" * n for n in range(1, 30)]
    found = likelihood(bigram(table), encode, texts, context=512)
    each = [likelihood(bigram(table), encode, [text], context=512) for text in texts]
    residues = [one.bits - found.bits_per_byte * one.bytes for one in each]
    variance = sum(r * r for r in residues) / (len(texts) - 1)
    assert found.error == pytest.approx(math.sqrt(variance * len(texts)) / found.bytes, rel=1e-6)


@given(st.integers(1, 200), st.integers(1, 40))
def test_windows_score_every_token_once_with_half_a_context_before_it(length, context):
    stride = max(1, context // 2)
    scored = []
    for window in cut(0, length, context, stride):
        assert 0 <= window.start < window.first <= window.end <= length
        assert window.end - window.start <= context + 1  # the last token is foretold, never read
        for place in range(window.first, window.end):
            assert place - window.start >= min(place, context // 2)
            scored.append(place)
    assert scored == list(range(1, length))


def order_two(tokens):
    """A model that looks two tokens back: the log-probability depends on both."""
    before = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-2]], 1)
    logits = torch.sin(torch.arange(256.0) * (1 + tokens[:, :-1, None]) + before[..., None])
    return logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)


def test_windows_cost_nothing_where_half_a_context_is_all_that_the_model_sees():
    texts = ["the moon is up and the tide is in " * 9, "short", "", "x" * 63]
    whole = likelihood(order_two, encode, texts, context=1000)
    windows = likelihood(order_two, encode, texts, context=6)
    assert whole.windowed == 0
    assert windows.windowed == 2
    # Only the second token of the opener's window sees less than in full.
    assert windows.bits == pytest.approx(whole.bits, rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(max_size=60), max_size=9), st.sampled_from((16, 64, 10_000)), st.integers(1, 4))
def test_neither_batches_nor_groups_change_the_result(texts, tokens, documents):
    expected = likelihood(order_two, encode, texts, context=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS", tokens)
        patch.setattr(module, "DOCUMENTS", documents)
        found = likelihood(order_two, encode, iter(texts), context=12)
    assert found.bits == pytest.approx(expected.bits, rel=1e-6)
    assert (found.tokens, found.bytes, found.words) == (expected.tokens, expected.bytes, expected.words)


def test_batches_stay_bounded(monkeypatch):
    monkeypatch.setattr(module, "TOKENS", 256)
    shapes = []

    def watch(tokens):
        shapes.append(tuple(tokens.shape))
        return uniform(256)(tokens)

    likelihood(watch, encode, ["a" * n for n in range(100)] + ["b" * 5000], context=32)
    assert max(rows * length for rows, length in shapes) <= 256
    assert max(length for _, length in shapes) == 33


def test_nothing():
    found = likelihood(uniform(4), encode, [], context=4)
    assert (found.documents, found.bits_per_byte, found.error) == (0, 0, 0)


def test_equals_the_loss_of_transformers():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config).eval()

    def log_probs(tokens):
        logits = model(tokens[:, :-1]).logits.log_softmax(-1)
        return logits.gather(-1, tokens[:, 1:, None]).squeeze(-1)

    rows = encode(["the moon", "a longer line of verse than the first", "x"])
    found = score(log_probs, rows, context=64, stride=32)
    for row, bits in zip(rows, found.tolist(), strict=True):
        ids = torch.tensor([row])
        with torch.no_grad():
            loss = float(model(ids, labels=ids).loss)
        assert bits == pytest.approx(loss * (len(row) - 1) / math.log(2), rel=1e-5)
