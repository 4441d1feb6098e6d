import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.evaluate import verbatim as module
from makar.evaluate.verbatim import find_copies, hashes, verbatim

TRAINING = [
    ("a", "The moon was a ghostly galleon\ntossed upon cloudy seas, and the road was a ribbon of light"),
    ("b", "Nothing here is like the rest\nat all, at all, at all; and no one knows the reason why it stands"),
]


def test_a_planted_copy_is_found_where_it_stands():
    sample = "I saw a ship; and THE ROAD was a ribbon\nof moonlight over hills"
    (copied,) = find_copies([sample], TRAINING, window=6)
    run = copied.longest
    assert (run.words, run.start, run.document, run.document_start) == (7, 4, "a", 10)
    assert run.text == "and the road was a ribbon of"
    assert copied.covered.tolist() == [False] * 4 + [True] * 7 + [False] * 3
    assert copied.windows.sum() == 2


def test_a_near_copy_is_none():
    near = "tossed upon stormy seas, and the path was a ribbon of light"
    (copied,) = find_copies([near], TRAINING, window=6)
    assert copied.longest is None
    assert not copied.covered.any()


def test_runs_do_not_cross_documents_or_samples():
    across = "road was a ribbon of light nothing here is like the rest"
    (copied,) = find_copies([across], TRAINING, window=6)
    assert copied.longest.words == 6
    halves = find_copies(["road was a", "ribbon of light"], TRAINING, window=4)
    assert [each.longest for each in halves] == [None, None]


def test_lines_count_whole_and_from_four_words():
    sample = "Tossed upon cloudy seas, and the road was a ribbon of light!\nThe moon was a\nat all\nMoon was a ghostly"
    (copied,) = find_copies([sample], TRAINING)
    assert (copied.lines, copied.copied_lines) == (3, 1)  # "at all" is too short, and halves of lines are no lines


def test_the_summary_by_hand():
    samples = ["the moon was a ghostly galleon", "the moon is a ghostly galleon", ""]
    found = verbatim(find_copies(samples, TRAINING, window=4), window=4)
    assert found.samples == 3
    assert found.samples_copied == 1 / 3
    assert found.longer == {8: 0, 16: 0, 32: 0}
    assert found.windows_copied == 3 / 6
    assert found.words_copied == 6 / 12
    assert (found.lines, found.lines_copied) == (2, 1 / 2)
    assert found.mean_longest == 2
    assert found.longest.words == 6
    assert verbatim([]).samples_copied == 0


def test_longer_runs_are_counted_apart():
    found = verbatim(find_copies([TRAINING[0][1], "the moon was here"], TRAINING, window=3), window=3)
    assert found.samples_copied == 1
    assert found.longer == {6: 1 / 2, 12: 1 / 2, 24: 0}  # the poem has 18 words


@pytest.fixture
def weak_hash(monkeypatch):
    """Only four values: nearly all windows collide."""
    strong = hashes
    monkeypatch.setattr(module, "hashes", lambda ids, window: strong(ids, window) & np.uint64(3 << 62))


@pytest.mark.usefixtures("weak_hash")
def test_a_collision_never_counts():
    for test in (
        test_a_planted_copy_is_found_where_it_stands,
        test_a_near_copy_is_none,
        test_runs_do_not_cross_documents_or_samples,
        test_the_summary_by_hand,
    ):
        test()


WORDS = st.lists(st.sampled_from("abc"), max_size=25).map(" ".join)


def by_hand(sample, training, window):
    """The definition, word for word: what lies in a stretch of a window or more that stands in the training text."""
    words, covered, longest = sample.split(), [False] * len(sample.split()), 0
    texts = [f" {text} " for _, text in training]
    for start in range(len(words)):
        for end in range(start + window, len(words) + 1):
            if any(f" {' '.join(words[start:end])} " in text for text in texts):
                covered[start:end] = [True] * (end - start)
                longest = max(longest, end - start)
    return covered, longest


@settings(deadline=None, max_examples=60)
@given(
    st.lists(WORDS, max_size=3),
    st.lists(WORDS, max_size=4),
    st.integers(2, 4),
    st.booleans(),
    st.sampled_from((1, 1000)),
)
def test_equals_the_definition(samples, texts, window, weak, batch):
    training = [(str(i), text) for i, text in enumerate(texts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", batch)
        if weak:
            strong = hashes
            patch.setattr(module, "hashes", lambda ids, window: strong(ids, window) & np.uint64(1 << 63))
        for sample, copied in zip(samples, find_copies(samples, training, window), strict=True):
            covered, longest = by_hand(sample, training, window)
            assert copied.covered.tolist() == covered
            run = copied.longest
            assert (run.words if run else 0) == longest
            if run:  # it stands where it says
                there = texts[int(run.document)].split()[run.document_start :][: run.words]
                assert there == sample.split()[run.start :][: run.words] == run.text.split()


def test_equal_windows_hash_alike_and_others_do_not():
    ids = np.array([1, 2, 3, 1, 2, 3, 4, 0, 0, 0], np.uint64)
    found = hashes(ids, 3)
    assert len(found) == 8
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 7
    assert len(hashes(ids[:2], 3)) == 0
