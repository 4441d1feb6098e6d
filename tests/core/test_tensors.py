import errno
import json
import os
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from makar.core import tensors
from makar.core.errors import ModelError, ResourceError
from makar.core.tensors import check_shapes, hash_tensors, load_tensors, save_tensors, tensor_metadata


def made(path):
    save_tensors(path, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, {"who": "us"})
    return path


def test_tensors_go_and_come_back(tmp_path):
    shared = torch.arange(6.0)
    given = {"t": shared.reshape(2, 3).T, "part": shared[1:3], "all": shared, "int": torch.tensor(7)}
    save_tensors(tmp_path / "x", given)
    found = load_tensors(tmp_path / "x")
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_plain_memory_is_not_copied_to_be_written(tmp_path, monkeypatch):
    given = {"plain": torch.zeros(8), "strided": torch.zeros(4, 2).T}
    given["shared"] = given["plain"][2:]
    written = {}
    monkeypatch.setattr(tensors, "save_file", lambda plain, path, metadata: (written.update(plain), path.touch()))
    save_tensors(tmp_path / "x", given)
    assert written["plain"].data_ptr() == given["plain"].data_ptr()
    assert written["shared"].data_ptr() != given["shared"].data_ptr()
    assert written["strided"].is_contiguous()


def test_metadata_is_read_without_tensors(tmp_path):
    assert tensor_metadata(made(tmp_path / "x")) == {"format": "pt", "who": "us"}


def test_equal_tensors_and_metadata_are_equal_files(tmp_path):
    words = {f"key {k}": f'"{chr(0x1F300 + k)}\n\x01' for k in range(20)}
    for name, metadata in {"one": words, "other": dict(reversed(words.items()))}.items():
        save_tensors(tmp_path / name, {"a": torch.ones(3), "b": torch.zeros(2, 2)}, metadata)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert tensor_metadata(tmp_path / "one") == {"format": "pt", **words}
    assert torch.equal(load_tensors(tmp_path / "one")["a"], torch.ones(3))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match="missing"):
        load_tensors(tmp_path / "x")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 40, -40, -1])
def test_a_truncated_file_is_refused(tmp_path, size):
    whole = made(tmp_path / "x").stat().st_size
    os.truncate(tmp_path / "x", size % whole)
    with pytest.raises(ModelError, match="damaged"):
        load_tensors(tmp_path / "x")


def test_an_oversized_or_overlong_file_is_refused(tmp_path):
    with made(tmp_path / "x").open("ab") as file:
        file.write(b"\0" * 8)
    with pytest.raises(ModelError, match="damaged"):
        load_tensors(tmp_path / "x")
    (tmp_path / "y").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(ModelError, match="damaged"):
        load_tensors(tmp_path / "y")
    (tmp_path / "y").write_bytes(b"\x80\x04this is a pickle, or says so")
    with pytest.raises(ModelError, match="damaged"):
        load_tensors(tmp_path / "y")


def test_a_header_that_lies_about_places_is_refused(tmp_path):
    for offsets in ([0, 400], [4, 8], [-4, 4], [0, 2]):
        header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}).encode()
        (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
        with pytest.raises(ModelError, match="damaged"):
            load_tensors(tmp_path / "x")


@examples(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_broken_header_gets_past(tmp_path_factory, place, byte):
    """Whatever is done to the header, the file is refused or its tensors have sound shapes."""
    folder = tmp_path_factory.mktemp("fuzz")
    data = bytearray(made(folder / "x").read_bytes())
    data[place % 200] = byte
    (folder / "x").write_bytes(data)
    try:
        found = load_tensors(folder / "x")
    except ModelError:
        return
    assert sum(t.numel() for t in found.values()) <= len(data)


def test_no_space_is_said(monkeypatch, tmp_path):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(ResourceError, match="no space"):
        save_tensors(tmp_path / "x", {"a": torch.zeros(1)})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"a": (2,)}, "1 tensor(s) missing, first 'b'"),
        ({"a": (2,), "b": (3,), "c": (1,)}, "does not know, first 'c'"),
        ({"a": (2,), "b": (4,)}, "tensor 'b' has another shape"),
    ],
)
def test_what_the_config_does_not_ask_for_is_named(tmp_path, found, said):
    wanted = {"a": torch.Size((2,)), "b": torch.Size((3,))}
    with pytest.raises(ModelError) as fault:
        check_shapes(tmp_path, {name: torch.zeros(size) for name, size in found.items()}, wanted)
    assert said in str(fault.value)
    check_shapes(tmp_path, {"a": torch.zeros(2)}, wanted, optional=["b"])


def test_a_hash_knows_names_types_shapes_and_values_and_nothing_else():
    matrix = torch.arange(6.0).reshape(2, 3)
    known = hash_tensors({"a": matrix, "b": torch.zeros(2)})
    assert hash_tensors({"b": torch.zeros(2), "a": matrix.T.contiguous().T}) == known
    others = [{"c": matrix}, {"a": matrix.reshape(3, 2)}, {"a": matrix.double()}, {"a": matrix + 1e-6}]
    assert len({known, *(hash_tensors({"b": torch.zeros(2)} | each) for each in others)}) == 5
    assert len(hash_tensors({"half": torch.ones(3, dtype=torch.bfloat16), "scalar": torch.tensor(1)})) == 64
