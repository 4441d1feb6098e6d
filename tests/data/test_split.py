import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.core.errors import InputError
from makar.data.config import CollectOptions
from makar.data.split import Fate, place_of, split
from makar.data.store import write_part


def fates(folder, rows, **options):
    """The fate of rows of (group, bytes), stored in parts of twenty."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for start in range(0, len(rows), 20):
        part = rows[start : start + 20]
        paths.append(folder / f"{start:08}.parquet")
        columns = {
            "group": [group for group, _ in part],
            "source": ["corpus"] * len(part),
            "bytes": np.array([size for _, size in part], np.int64),
        }
        write_part(paths[-1], columns, {})
    return np.concatenate(list(split(paths, CollectOptions(**options)))).tolist()


ROWS = st.lists(st.tuples(st.integers(0, 30).map(str), st.integers(1, 1000)), min_size=1, max_size=60)
FRACTION = st.sampled_from([0.0, 0.05, 0.3])


@settings(max_examples=25, deadline=None)
@given(ROWS, FRACTION, FRACTION, st.integers(0, 3))
def test_no_group_is_on_two_sides_and_no_split_is_empty(tmp_path_factory, rows, test, valid, seed):
    folder = tmp_path_factory.mktemp("split")
    groups = {group for group, _ in rows}
    wanted = 1 + (test > 0) + (valid > 0)
    if len(groups) < wanted:
        with pytest.raises(InputError, match="too small"):
            fates(folder, rows, test_fraction=test, valid_fraction=valid, seed=seed)
        return
    try:
        found = fates(folder, rows, test_fraction=test, valid_fraction=valid, seed=seed)
    except InputError:
        assert len(groups) < 12, "only by bad luck among few groups may nothing be left to train on"
        return
    for group in groups:
        assert len({fate for fate, (other, _) in zip(found, rows, strict=True) if other == group}) == 1
    assert (Fate.TEST in found) == (test > 0)
    assert (Fate.VALID in found) == (valid > 0)
    assert Fate.TRAIN in found


def test_a_group_keeps_its_side_as_the_corpus_grows(tmp_path):
    rows = [(f"book {n}", 10) for n in range(400)]
    options = {"test_fraction": 0.1, "valid_fraction": 0.1}
    small = fates(tmp_path / "a", rows[:200], **options)
    large = fates(tmp_path / "b", rows[::-1], **options)[::-1]
    assert small == large[:200]
    assert 20 <= large.count(Fate.TEST) <= 60
    assert fates(tmp_path / "c", rows, seed=1, **options) != large


def test_a_group_keeps_its_side_as_the_corpus_moves():
    assert place_of("/home/me/poems/a.txt", "/home/me/poems", 0) == place_of("poems/a.txt", "poems/", 0)
    assert place_of("/x/a.txt", "/x/a.txt", 0) == place_of("a.txt", "a.txt", 0)
    assert place_of("a.txt", "a.txt", 0) != place_of("b.txt", "b.txt", 0) != place_of("b.txt", "b.txt", 1)


def test_what_is_made_holds_the_same_groups_out_in_every_form():
    """A sum that a stage is tested with must not be one that an earlier stage was told."""
    taught, asked = ("make:arithmetic", "make:arithmetic-prompts")
    assert place_of(f"{taught}#sum-1-2", taught, 0) == place_of(f"{asked}#sum-1-2", asked, 0)
    assert place_of(f"{taught}#sum-1-2", taught, 0) != place_of(f"{taught}#sum-1-3", taught, 0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=20, max_size=80), st.sampled_from([0.05, 0.2, 0.5]))
def test_the_last_part_is_the_least_that_holds_the_fraction(tmp_path_factory, sizes, fraction):
    rows = [(f"book {n // 4}", size) for n, size in enumerate(sizes)]
    try:
        found = fates(tmp_path_factory.mktemp("last"), rows, test="last", test_fraction=fraction, valid_fraction=0)
    except InputError:
        assert fraction == 0.5 or len(sizes) < 30
        return
    start = found.index(Fate.TEST)
    held = sum(sizes[start:])
    assert set(found[start:]) == {Fate.TEST}
    assert held >= fraction * sum(sizes) * (1 - 1e-9)
    assert held - sizes[start] < fraction * sum(sizes) * (1 + 1e-9) + 1
    for fate, (group, _) in zip(found[:start], rows[:start], strict=True):
        assert fate == (Fate.STRADDLES if group == rows[start][0] else Fate.TRAIN)


def test_the_limit_takes_the_leading_part_and_spares_the_test_set(tmp_path):
    rows = [(f"book {n}", 100) for n in range(100)]
    free = fates(tmp_path / "a", rows, test="last", valid_fraction=0.1)
    found = fates(tmp_path / "b", rows, test="last", valid_fraction=0.1, limit_bytes=1950)
    taken = [place for place, fate in enumerate(found) if fate <= Fate.VALID]
    assert taken == list(range(20))
    assert found[:20] == free[:20]
    assert found[20:95] == [Fate.BEYOND] * 75
    assert found[95:] == free[95:] == [Fate.TEST] * 5


@pytest.mark.parametrize("options", [{}, {"test": "last"}, {"test_fraction": 0}, {"valid_fraction": 0}])
def test_one_book_cannot_be_split(tmp_path, options):
    with pytest.raises(InputError, match=r"too small for its split.*test_fraction"):
        fates(tmp_path, [("book", 10)] * 5, **options)


def test_one_book_is_enough_to_train_on(tmp_path):
    assert fates(tmp_path, [("book", 10)] * 5, test_fraction=0, valid_fraction=0) == [Fate.TRAIN] * 5
