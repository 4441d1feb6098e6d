import pytest
import torch

from makar.core.errors import InputError
from makar.core.nouns import Source
from makar.data.table import TensorSource


def table(rows=7, seed=3):
    return TensorSource({"x": torch.arange(rows), "y": torch.arange(rows)[:, None] * 10.0}, seed)


def rows(source, steps, size):
    return torch.cat([source.batch(step, size)["x"] for step in range(steps)]).tolist()


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_every_epoch_holds_every_row_once_whatever_the_batch(size):
    seen = rows(table(), -(-28 // size), size)[:28]
    epochs = [seen[k : k + 7] for k in range(0, 28, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert seen == rows(table(), 28, 1)


def test_columns_keep_their_rows_together():
    batch = table().batch(2, 5)
    assert torch.equal(batch["y"][:, 0], batch["x"] * 10.0)


def test_it_is_pure_in_the_step_and_the_seed_matters():
    source = table(50)
    later = source.batch(9, 8)["x"]
    source.batch(0, 8)
    assert torch.equal(source.batch(9, 8)["x"], later)
    assert torch.equal(table(50).batch(9, 8)["x"], later)
    assert not torch.equal(table(50, seed=4).batch(9, 8)["x"], later)
    assert isinstance(source, Source)
    assert source.epoch_rows == 50


@pytest.mark.parametrize("columns", [{}, {"x": torch.zeros(0)}, {"x": torch.zeros(2), "y": torch.zeros(3)}])
def test_a_table_without_rows_or_of_uneven_columns_is_refused(columns):
    with pytest.raises(InputError, match="same number"):
        TensorSource(columns, 0)
