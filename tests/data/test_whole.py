from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from makar.core.errors import InputError
from makar.core.nouns import Source, TracedSource
from makar.data.tokens import write_tokens
from makar.data.whole import WholeRows, learned, pack

PAD = 0
FUZZ = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def shards_of(path, masks):
    """Shards of documents whose tokens are all different; a document is its mask, as text of 0 and 1."""
    number = iter(range(1, 10**6))
    encode = learned(lambda text: ([next(number) for _ in text], [bit == "1" for bit in text]))
    return write_tokens(masks, encode, path, "hash", 2 * 10**6)


# A first token that is not learned, then any, then at least one that is.
MASKS = st.lists(st.text("01", max_size=12).map(lambda bits: f"0{bits}1"), min_size=1, max_size=25)


@FUZZ
@given(masks=MASKS, length=st.integers(13, 40), seed=st.integers(0, 3))
def test_every_target_is_learned_once_an_epoch_and_no_conversation_crosses_a_row(tmp_path_factory, masks, length, seed):
    rows = WholeRows(shards_of(tmp_path_factory.mktemp("a") / "t", masks), length, seed, PAD)
    assert isinstance(rows, Source)
    assert (rows.truncated, rows.cut_targets) == (0, 0)
    assert rows.targets == sum(mask.count("1") for mask in masks)
    documents = {}
    number = 1
    for mask in masks:
        documents[number] = mask
        number += len(mask)
    count = int(rows.epoch_rows)
    for epoch in range(2):
        seen, starts = Counter(), Counter()
        for place in range(epoch * count, (epoch + 1) * count):
            row = {name: column[0] for name, column in rows.batch(place, 1).items()}
            assert row["loss_mask"][1:].any()
            segments = row["segments"].tolist()
            assert segments == sorted(segments)
            for segment in sorted(set(segments)):
                tokens = row["tokens"][row["segments"] == segment].tolist()
                mask = row["loss_mask"][row["segments"] == segment].tolist()
                if tokens[0] == PAD:
                    assert set(tokens) == {PAD}
                    assert not any(mask)
                    continue
                starts[tokens[0]] += 1
                assert tokens == list(range(tokens[0], tokens[0] + len(documents[tokens[0]])))
                assert "".join(str(int(bit)) for bit in mask) == documents[tokens[0]]
                seen.update(token for token, bit in zip(tokens, mask, strict=True) if bit)
        assert starts == Counter(dict.fromkeys(documents, 1))
        assert set(seen.values()) == {1}
        assert len(seen) == rows.targets


@FUZZ
@given(masks=MASKS, step=st.integers(0, 9), size=st.integers(1, 7))
def test_a_batch_is_its_rows_whatever_was_asked_before(tmp_path_factory, masks, step, size):
    shards = shards_of(tmp_path_factory.mktemp("a") / "t", masks)
    rows, again = (WholeRows(shards, 20, 7, PAD) for _ in range(2))
    batch = rows.batch(step, size)
    assert {name: (column.shape, column.dtype) for name, column in batch.items()} == {
        "tokens": ((size, 21), torch.int64),
        "segments": ((size, 21), torch.int32),
        "loss_mask": ((size, 21), torch.bool),
    }
    for line in range(size):
        one = again.batch(step * size + line, 1)
        assert all(torch.equal(batch[name][line], one[name][0]) for name in batch)
    assert isinstance(rows, TracedSource)
    owner = np.repeat(np.arange(len(masks)), [len(mask) for mask in masks])
    shown = batch["tokens"][batch["tokens"] != PAD] - 1  # the first token of the corpus is 1
    assert set(rows.origins(step, size)) == set(owner[shown].tolist())


@FUZZ
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=60), seed=st.integers(0, 5))
def test_packing_places_all_and_two_rows_never_fit_into_one(sizes, seed):
    sizes = np.array(sizes)
    chosen = np.arange(len(sizes))
    rows = pack(sizes, chosen, 20, np.random.default_rng(seed).permutation(len(sizes)))
    assert sorted(document for row in rows for document in row.tolist()) == chosen.tolist()
    held = sorted(int(sizes[row].sum()) for row in rows)
    assert held[-1] <= 20
    assert len(held) < 2 or held[0] + held[1] > 20
    assert len(rows) <= np.ceil(sizes.sum() / 20) * 11 / 9 + 1  # the bound of first-fit decreasing


def test_rows_are_full(tmp_path):
    draw = np.random.default_rng(0)
    masks = ["0" * int(n) + "1" * int(m) for n, m in draw.integers(2, 60, (400, 2))]
    rows = WholeRows(shards_of(tmp_path / "t", masks), 255, 0, PAD)
    assert rows.filled > 0.98
    mask = torch.cat([rows.batch(step, 8)["segments"] for step in range(4)])
    assert int(mask.max()) > 2


def test_epochs_have_orders_of_their_own(tmp_path):
    rows = WholeRows(shards_of(tmp_path / "t", ["0" * 9 + "1"] * 60), 10, 0, PAD)
    count = int(rows.epoch_rows)
    assert count == 60
    first, second = (rows.batch(epoch, count)["tokens"][:, 0].tolist() for epoch in range(2))
    assert first != second
    assert sorted(first) == sorted(second)


def test_what_is_cut_is_counted_and_refused_above_a_share(tmp_path):
    masks = ["0011"] * 98 + ["00" + "1" * 10] + ["0" * 10 + "11"]
    shards = shards_of(tmp_path / "t", masks)
    with pytest.raises(InputError, match=r"3.8% .* rows of 5 .*2 conversations .* 12 tokens.*data.length=11.*data.cut"):
        WholeRows(shards, 5, 0, PAD)
    rows = WholeRows(shards, 5, 0, PAD, cut=0.05)
    assert (rows.truncated, rows.targets, rows.cut_targets) == (2, 208, 6 + 2)
    count = int(rows.epoch_rows)
    mask = rows.batch(0, count)["loss_mask"]
    assert int(mask.sum()) == rows.targets - rows.cut_targets
    assert mask.any(1).all()
    assert WholeRows(shards, 11, 0, PAD).cut_targets == 0


def test_a_conversation_without_a_target_is_refused_and_named(tmp_path):
    with pytest.raises(InputError, match="document 2: nothing is to be learned"):
        WholeRows(shards_of(tmp_path / "t", ["011", "000", "01"]), 8, 0, PAD)
    with pytest.raises(InputError, match="no answer fits"):
        WholeRows(shards_of(tmp_path / "u", ["00001"]), 2, 0, PAD, cut=1.0)
