import time
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.core.nouns import Source, TracedSource
from makar.data.packed import PackedTokens
from makar.data.tokens import write_tokens


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Documents of given lengths in shards; no two tokens of the corpus are the same."""
    known = {}

    def write(lengths, shard_tokens=2**28):
        key = (*lengths, shard_tokens)
        if key not in known:
            starts = np.cumsum([0, *lengths])
            rows = [list(range(a, b)) for a, b in zip(starts, starts[1:], strict=False)]
            source = iter(rows)
            known[key] = write_tokens(
                ["x"] * len(rows),
                lambda chunk: [next(source) for _ in chunk],
                tmp_path_factory.mktemp("packed") / "s",
                "h",
                100_000,
                shard_tokens=shard_tokens,
            )
        return known[key]

    return write


def owners(lengths):
    """The document of each token."""
    return np.repeat(np.arange(len(lengths)), lengths)


LENGTHS = st.sampled_from([[1], [7], [1, 1], [2, 9], [12, 1, 4], [5, 5, 5, 5], [1, 11, 1, 2, 8, 3, 1, 6]])


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, length=st.integers(1, 70), size=st.integers(1, 4), shard=st.sampled_from([3, 10, 2**28]))
def test_every_epoch_predicts_every_token_once(make, lengths, length, size, shard):
    """Counted over pairs of a token and its target: inside documents they are the corpus's own, each once an epoch."""
    source = PackedTokens(make(lengths, shard), length, seed=1)
    total, epochs = sum(lengths), 3
    steps = -(-(epochs * total) // (length * size))
    rows = torch.cat([source.batch(step, size)["tokens"] for step in range(steps)])
    pairs = torch.stack((rows[:, :-1].flatten(), rows[:, 1:].flatten()), 1).tolist()
    owner = owners(lengths)
    inside = Counter((a, a + 1) for a in range(total - 1) if owner[a] == owner[a + 1])
    for epoch in range(epochs):
        seen = pairs[epoch * total : (epoch + 1) * total]
        assert Counter(a for a, _ in seen) == Counter(range(total))  # each token is a context once
        starts = {(a, b) for a, b in seen if owner[a] != owner[b] or b != a + 1}
        assert Counter((a, b) for a, b in seen if (a, b) not in starts) == inside
        assert len(seen) - sum(inside.values()) == len(lengths)  # what is left joins the end of a document to a start
    targets = Counter(b for _, b in pairs[: epochs * total])
    assert sum(targets.values()) == epochs * total
    assert all(count in (epochs - 1, epochs, epochs + 1) for count in targets.values())


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, length=st.integers(1, 40), size=st.integers(1, 5), step=st.integers(0, 6))
def test_rows_depend_on_their_global_number_alone(make, lengths, length, size, step):
    source = PackedTokens(make(lengths), length, seed=2)
    batch = source.batch(step, size)
    assert batch["tokens"].shape == batch["segments"].shape == (size, length + 1)
    assert (batch["tokens"].dtype, batch["segments"].dtype) == (torch.int64, torch.int32)
    for row in range(size):
        alone = PackedTokens(make(lengths, 5), length, seed=2).batch(step * size + row, 1)
        for name in batch:
            assert torch.equal(batch[name][row : row + 1], alone[name])
    assert isinstance(source, TracedSource)
    assert sorted(set(source.origins(step, size))) == sorted(set(owners(lengths)[batch["tokens"]].flatten().tolist()))


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, length=st.integers(1, 60))
def test_segments_count_the_documents_of_a_row_from_nought(make, lengths, length):
    owner = owners(lengths)
    firsts = set(np.cumsum([0, *lengths])[:-1].tolist())
    batch = PackedTokens(make(lengths), length, seed=3).batch(0, 5)
    for tokens, segments in zip(batch["tokens"].tolist(), batch["segments"].tolist(), strict=True):
        expected = [0]
        for token in tokens[1:]:
            expected.append(expected[-1] + (token in firsts))
        assert segments == expected
        for segment in set(segments):
            assert len({owner[t] for t, s in zip(tokens, segments, strict=True) if s == segment}) == 1


def test_rows_overlap_by_one_token(make):
    source = PackedTokens(make([5, 9, 3]), 4, seed=0)
    rows = torch.cat([source.batch(step, 3)["tokens"] for step in range(4)])
    assert torch.equal(rows[1:, 0], rows[:-1, -1])


def test_epochs_are_shuffled_differently_and_by_the_seed(make):
    shards = make([1] * 50)
    epochs = PackedTokens(shards, 50, seed=4).batch(0, 3)["tokens"][:, :-1]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs.tolist())
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(PackedTokens(shards, 50, seed=5).batch(0, 1)["tokens"][0, :-1], epochs[0])


def test_it_is_a_source_without_history(make):
    shards = make([3, 8, 2, 6])
    source = PackedTokens(shards, 5, seed=6)
    later = source.batch(1000, 3)
    source.batch(0, 3)
    assert isinstance(source, Source)
    for name, rows in source.batch(1000, 3).items():
        assert torch.equal(rows, later[name])


def test_segments_are_left_out_where_documents_may_attend_across(make):
    batch = PackedTokens(make([3, 4]), 5, seed=0, documents=False).batch(0, 2)
    assert list(batch) == ["tokens"]


def test_epoch_rows_says_how_long_an_epoch_is(make):
    assert PackedTokens(make([3, 4]), 2, seed=0).epoch_rows == 3.5


def test_a_batch_is_a_gather_not_a_loop(make):
    lengths = [20] * 4000
    source = PackedTokens(make(lengths), 256, seed=0)
    source.batch(0, 32)
    times = []
    for step in range(20):
        start = time.perf_counter()
        source.batch(step % 5, 32)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.004  # a loop over 8,192 tokens takes longer; measured near 0.0002
