import datasketch
import numpy as np
import pytest
import xxhash

from makar.data import dedup
from makar.data.dedup import Verdict, find_duplicates
from makar.data.minhash import BANDS, ROWS, fingerprints, shingles, signatures
from tests.data.corpora import verse


def judge(texts, test, folder, near=0.7, cuts=(0, 5, 17)):
    """The verdicts on texts, stored in several files."""
    folder.mkdir(exist_ok=True)
    edges = sorted({*(min(cut, len(texts)) for cut in cuts), len(texts)})
    exact, signed = [], []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        part = texts[start:end]
        exact.append(folder / f"{start}.exact.npy")
        signed.append(folder / f"{start}.signed.npy")
        np.save(exact[-1], np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in part], np.uint64))
        np.save(signed[-1], fingerprints(part) if near == 1 else signatures(part))
    work = folder / "work"
    work.mkdir()
    verdicts = find_duplicates(exact, signed, np.array(test, bool), near, work)
    assert not list(work.iterdir()), "spilled files are used up"
    return verdicts.tolist()


def changed(text, words):
    """A text with some words replaced, evenly."""
    parts = text.split(" ")
    for place in range(words):
        parts[(2 * place + 1) * len(parts) // (2 * words)] = f"other{place}"
    return " ".join(parts)


def test_the_first_of_its_kind_stays_and_test_always_does(tmp_path):
    a, b, c, d = (verse(seed, lines=30) for seed in "abcd")
    texts = [a, b, a, changed(b, 2), c, d, changed(c, 2), d, c, verse("e", lines=30)]
    test = [False] * 6 + [True, True, True, False]
    keep, same, near, same_test, near_test = Verdict
    assert judge(texts, test, tmp_path) == [keep, keep, same, near, same_test, same_test, keep, keep, keep, keep]
    test[8] = False
    assert judge(texts, test, tmp_path / "again")[4:9] == [near_test, same_test, keep, keep, same]


def test_at_one_only_equal_texts_go(tmp_path, monkeypatch):
    monkeypatch.setattr(dedup, "band_hashes", lambda signed: pytest.fail("no bands are looked at"))
    texts = ["What is 3 + 4?", "What is 3 * 4?", "what is 3 + 4", "What is 3 + 4?", verse("a"), verse("a") + "\n"]
    keep, same = Verdict.KEEP, Verdict.SAME
    assert judge(texts, [False] * 6, tmp_path, near=1.0) == [keep, keep, keep, same, keep, keep]


def test_the_test_set_wins_whatever_the_order(tmp_path):
    text = verse("a", lines=30)
    near = changed(text, 2)
    for number, order in enumerate(([text, near], [near, text])):
        for place in (0, 1):
            test = [place == 0, place == 1]
            found = judge(order, test, tmp_path / f"{number}{place}")
            assert found[place] == Verdict.KEEP
            assert found[1 - place] == Verdict.NEAR_TEST


def test_the_test_set_wins_over_more_repetitions_than_are_compared(tmp_path):
    """A text that stands a hundred times, word for word or almost, before the test set: none of the hundred stays."""
    text = verse("a", lines=30)
    for number, texts in enumerate(([text] * 100, [f"{text} other{k}" for k in range(100)])):
        found = judge([*texts, text], [False] * 100 + [True], tmp_path / f"{number}")
        assert Verdict.KEEP not in found[:100]
        assert found[100] == Verdict.KEEP


def test_it_finds_what_datasketch_finds(tmp_path):
    """The field's own LSH with the same bands, on the same sets: every pair that is near goes, no pair that is far."""
    texts = []
    for seed in range(40):
        text = verse(seed, lines=30)
        texts += [text, changed(text, 1 + seed % 7)]
    index = datasketch.MinHashLSH(params=(BANDS, ROWS), num_perm=BANDS * ROWS)
    sets, theirs = [], set()
    for row, text in enumerate(texts):
        sets.append(set(shingles([text])[0].tolist()))
        sketch = datasketch.MinHash(BANDS * ROWS)
        sketch.update_batch([int(gram).to_bytes(8, "little") for gram in sets[-1]])
        if any(len(sets[row] & sets[other]) / len(sets[row] | sets[other]) >= 0.7 for other in index.query(sketch)):
            theirs.add(row)
        index.insert(row, sketch)
    ours = {row for row, verdict in enumerate(judge(texts, [False] * 80, tmp_path)) if verdict}
    true = {row: len(sets[row] & sets[row - 1]) / len(sets[row] | sets[row - 1]) for row in range(1, 80, 2)}
    sure = {row for row, value in true.items() if value > 0.85}
    assert len(sure) >= 10
    assert sure <= ours
    assert not {row for row in ours if true.get(row, 0) < 0.55}
    assert all(0.55 < true[row] < 0.85 for row in ours ^ theirs), "they differ only near the threshold"


def test_spilling_in_small_pieces_changes_nothing(tmp_path, monkeypatch):
    texts = [
        changed(verse(seed % 25, lines=20), seed // 25) if seed // 25 else verse(seed, lines=20) for seed in range(100)
    ]
    test = [seed % 7 == 0 for seed in range(100)]
    whole = judge(texts, test, tmp_path / "whole")
    largest = []
    load = np.fromfile

    def counted(file, dtype, *rest, **named):
        found = load(file, dtype, *rest, **named)
        largest.append(len(found) if dtype == dedup.RECORD else 0)
        return found

    monkeypatch.setattr(dedup, "IN_MEMORY", 8)
    monkeypatch.setattr(np, "fromfile", counted)
    assert judge(texts, test, tmp_path / "pieces") == whole
    assert sum(map(bool, whole)) > 50
    assert max(largest) <= 8, "no more records are ever held than fit"


def test_a_long_run_of_one_text_keeps_one(tmp_path, monkeypatch):
    monkeypatch.setattr(dedup, "REACH", 3)
    texts = [verse("a", lines=20)] * 50
    found = judge(texts, [False] * 50, tmp_path)
    assert found == [Verdict.KEEP] + [Verdict.SAME] * 49


def test_nothing_is_nothing(tmp_path):
    assert judge([], [], tmp_path, cuts=()) == []


@pytest.mark.parametrize("near", [0.7, 0.95])
def test_the_threshold_is_obeyed(tmp_path, near):
    text = verse("a", lines=50)
    found = judge([text, changed(text, 3)], [False, False], tmp_path, near)
    assert found == [Verdict.KEEP, Verdict.NEAR if near == 0.7 else Verdict.KEEP]
