import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makar.core.errors import InputError
from makar.data import read as module
from makar.data.archives import on_disk
from makar.data.document import Document, Fault
from makar.data.read import READERS, read
from tests.data.corpora import verse


def items(path, data=None):
    if data is not None:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read(on_disk(path, path.name), path.name))


def test_text_markdown_and_code_are_one_document_a_file(tmp_path):
    for name in ("a.txt", "b.MD", "c.py", "d.rs"):
        assert items(tmp_path / name, "hello\nworld\n") == [Document("hello\nworld\n", name, name, name)]


def test_byte_order_marks_are_understood(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (document,) = items(tmp_path / "a.txt", "héllo".encode(encoding))
        assert document.text == "héllo"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
        ("café au lait".encode("latin-1"), "broken UTF-8"),
        (b"a" * (module.BLOCK - 1) + b"\xff", "broken UTF-8"),
        (b"good\n" + "é".encode()[:1], "broken UTF-8"),
    ],
)
def test_what_is_not_text_is_a_fault_that_counts_its_bytes(tmp_path, data, reason, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 1 << 30)
    (fault,) = items(tmp_path / "a.txt", data)
    assert fault.reason == reason
    assert fault.bytes == len(data)
    assert fault.where.startswith("a.txt")


def test_a_broken_text_of_one_line_is_counted_in_little_memory(tmp_path):
    data = b"a" * module.BLOCK + b"\xff" + b"a" * (30 * module.BLOCK)
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    tracemalloc.start()
    found = items(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[-1].reason == "broken UTF-8"
    assert peak < 10 * module.BLOCK


def test_a_parquet_file_that_holds_no_text_in_its_strings_is_an_error(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xff")])
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="not valid Parquet"):
        items(tmp_path / "a.parquet")


def test_an_unknown_suffix_is_a_fault_that_names_the_known(tmp_path):
    for name in ("a.xyz", "README"):
        (fault,) = items(tmp_path / name, "hello")
        assert isinstance(fault, Fault)
        assert ".jsonl" in fault.fix


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff\r"), max_size=90), max_size=60))
def test_a_long_text_is_cut_into_pieces_that_are_together_all_of_it(tmp_path_factory, paragraphs):
    text = "\n\n".join(paragraphs)
    path = tmp_path_factory.mktemp("cut") / "a.txt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", 200)
        patch.setattr(module, "BLOCK", 64)
        found = items(path, text)
    assert "".join(document.text for document in found) == text
    assert all(len(document.text) <= 200 for document in found)
    assert len({document.id for document in found}) == len({document.group for document in found}) == len(found)


def test_pieces_end_at_blank_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 1000)
    found = items(tmp_path / "a.txt", "\n\n".join(verse(seed, lines=4, words=4) for seed in range(30)))
    assert len(found) > 3
    assert all(document.text.endswith("\n\n") for document in found[:-1])


def test_tables_give_a_document_a_row(tmp_path):
    rows = [{"text": f"poem {n}", "group": f"book {n // 2}", "year": 1800 + n} for n in range(4)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    (tmp_path / "a.csv").write_text("text,group,year\n" + "\n".join(f"poem {n},book {n // 2},{n}" for n in range(4)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        found = items(tmp_path / name)
        assert [document.text for document in found] == [f"poem {n}" for n in range(4)]
        assert [document.group for document in found] == [f"{name}#book {n // 2}" for n in range(4)]
        assert len({document.id for document in found}) == 4


def test_a_row_without_a_group_is_its_own(tmp_path):
    first, second = items(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b"}')
    assert first.group != second.group


def test_bad_rows_are_counted_one_by_one(tmp_path):
    lines = [b'{"text": "good"}', b"{broken", b'{"text": "\xff"}', b'{"text": 7}', b"[" * 5000]
    lines += [rb'{"text": "half \ud800"}', rb'{"text": "whole \ud83d\ude00"}']
    found = items(tmp_path / "a.jsonl", b"\n".join(lines))
    assert [getattr(item, "reason", "kept") for item in found] == [
        "kept", "not valid JSON", "broken UTF-8", "text is not a string", "not valid JSON", "broken UTF-8", "kept",
    ]  # fmt: skip
    assert found[1].where == "a.jsonl, line 2"


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RECORD", 1000)
    with pytest.raises(InputError, match="line 1"):
        items(tmp_path / "a.jsonl", '{"text": "' + "a" * 2000 + '"}')


def test_a_table_without_text_names_what_it_has(tmp_path):
    (tmp_path / "a.csv").write_text("title,body\nx,y\n")
    (tmp_path / "a.jsonl").write_text('{"body": "y"}')
    pq.write_table(pa.table({"body": ["y"]}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        with pytest.raises(InputError, match=r"no field 'text'.*body"):
            items(tmp_path / name)


def test_broken_csv(tmp_path):
    (fault,) = items(tmp_path / "a.csv", b"text\n\xff\n")
    assert fault.reason == "broken UTF-8"


def test_an_unknown_pickle_is_not_opened(tmp_path):
    for name in ("a.pkl", "data.pkl.compress"):
        with pytest.raises(InputError, match="not known"):
            items(tmp_path / name, b"cos\nsystem\n(S'exit 1'\ntR.")


def test_every_reader_is_named_by_a_suffix():
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in READERS)
