import json
import tarfile
import tracemalloc
import zipfile

import numpy as np
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


def test_a_broken_table_counts_all_that_follows(tmp_path):
    rows, rest = b"moon\n" * 3000, b"caf\xe9\n" + b"star\n" * 60_000
    *found, fault = items(tmp_path / "a.csv", b"text\n" + rows + rest)
    assert {item.text for item in found} == {"moon"}
    assert (fault.reason, fault.where) == ("broken UTF-8", f"a.csv, after row {len(found)}")
    assert len(rest) <= fault.bytes <= len(rest) + 8192, "a block at a time is decoded"
    assert 5 * len(found) + fault.bytes == pytest.approx(len(rows + rest), abs=5)


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


def peak_of(path) -> tuple[str, int]:
    """What a file is refused for, and the bytes that Arrow took for it."""
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pool := pa.proxy_memory_pool(usual))
    try:
        with pytest.raises(InputError) as fault:
            items(path)
    finally:
        pa.set_memory_pool(usual)
    return str(fault.value), pool.max_memory()


def test_a_table_that_unpacks_to_too_much_is_refused_in_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GROUP", 1 << 20)
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["x" * (1 << 21)], "other": ["y" * 10]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 3000
    with pytest.raises(InputError, match=r"a\.parquet, row group 0: a row group of more than 1 MiB .*2 MiB"):
        items(path)
    monkeypatch.setattr(module, "GROUP", 1 << 22)
    assert len(items(path)) == 1
    monkeypatch.setattr(module, "VALUES", 0)
    with pytest.raises(InputError, match="values"):
        items(path)


@pytest.mark.parametrize("nested", [False, True], ids=["rows", "a list in one row"])
def test_one_string_said_a_thousand_times_over_is_a_bomb(tmp_path, nested):
    path, times = tmp_path / "a.parquet", 4000
    said = pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array(["x" * (1 << 20)]))
    if nested:
        said = pa.ListArray.from_arrays(pa.array([0, times], pa.int32()), said)
    pq.write_table(pa.table({"prompt": said, "text": said} if nested else {"text": said}), path, compression="zstd")
    assert path.stat().st_size < 30_000
    said, peak = peak_of(path)
    assert "decompression bomb" in said
    assert peak < 64 << 20, "4 GB, written out"


def test_a_row_group_is_never_whole_in_memory(tmp_path):
    letters = np.random.default_rng(0).integers(97, 123, (8000, 2500), dtype=np.uint8)
    texts = [row.tobytes().decode() for row in letters]
    pq.write_table(pa.table({"text": texts, "group": ["a"] * 8000}), tmp_path / "a.parquet")
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pool := pa.proxy_memory_pool(usual))
    try:
        assert [item.text for item in items(tmp_path / "a.parquet")] == texts
    finally:
        pa.set_memory_pool(usual)
    assert pool.max_memory() < 15e6, "of 20 MB"


def test_strings_in_lists_may_repeat_and_are_read_only_where_they_take_little(tmp_path, monkeypatch):
    turns = [[{"role": "user", "content": f"question {k}"}, {"role": "assistant", "content": "a"}] for k in range(300)]
    pq.write_table(pa.table({"messages": turns}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [f"question {k}" for k in range(300)]}), tmp_path / "b.parquet")
    monkeypatch.setattr(module, "REPEATED", 1 << 10)
    with pytest.raises(InputError, match=r"a\.parquet, row group 0: a row group of more than 0 MiB"):
        items(tmp_path / "a.parquet")
    assert len(items(tmp_path / "b.parquet")) == 300


def test_a_table_of_long_and_repeated_texts_comes_back(tmp_path, monkeypatch):
    texts = ["moon " * 300_000, *(f"line {k % 7}" for k in range(3000)), None, "café"]
    turns = [[{"role": "user", "content": f"q{k % 5}"}, {"role": "assistant", "content": "a"}] for k in range(3000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=1500)
    pq.write_table(pa.table({"messages": turns}), tmp_path / "b.parquet")
    for limit in (module.RECORD, 1 << 21):  # the second: row by row
        monkeypatch.setattr(module, "RECORD", limit)
        assert [getattr(item, "text", None) for item in items(tmp_path / "a.parquet")] == texts
        found = [json.loads(item.text)["messages"] for item in items(tmp_path / "b.parquet")]
        assert found == turns
    monkeypatch.setattr(module, "RECORD", 1 << 20)
    with pytest.raises(InputError, match="a row of more than 64 MiB"):
        items(tmp_path / "a.parquet")


def test_every_kind_of_column_is_counted_slice_by_slice(tmp_path):
    columns = {
        "text": pa.array(["seven b"] * 9, pa.large_string()),
        "map": pa.array([[("key", "one"), ("b", "two")]] * 9, pa.map_(pa.string(), pa.string())),
        "list": pa.array([["x" * 100] * 3] * 9, pa.large_list(pa.large_string())),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    once = ["text", "map.key_value.value", "list.list.element"]
    (batch,) = pq.read_table(tmp_path / "a.parquet", read_dictionary=once).to_batches()
    whole, part = (module.expanded(rows.to_struct_array()) for rows in (batch, batch.slice(3, 3)))
    assert 9 * 300 < whole < 9 * 400
    assert part == pytest.approx(whole / 3, rel=0.05)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.parquet", "a.zip", "a.tar"])
def test_a_file_that_holds_nothing_is_a_fault(tmp_path, name):
    path = tmp_path / name
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    zipfile.ZipFile(tmp_path / "a.zip", "w").close()
    tarfile.open(tmp_path / "a.tar", "w").close()
    path.touch()
    assert [(item.reason, item.where) for item in items(path)] == [("empty", name)]


def test_an_unknown_suffix_is_a_fault_that_names_the_known(tmp_path):
    for name in ("a.xyz", "README"):
        (fault,) = items(tmp_path / name, "hello")
        assert isinstance(fault, Fault)
        assert ".jsonl" in fault.fix


PLAIN = st.characters(codec="utf-8", exclude_characters="\0\ufeff\r")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(PLAIN, max_size=90), max_size=60).filter(any))
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
