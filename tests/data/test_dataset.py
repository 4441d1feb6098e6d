import shutil

import pytest

from makar.core.errors import InputError
from makar.data.collect import collect
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from tests.data.corpora import folder_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset."""
    root = tmp_path_factory.mktemp("dataset")
    options = CollectOptions(test_fraction=0.2, valid_fraction=0.2)
    collect([str(folder_of(root / "poems", 20))], root / "out", options)
    return root / "out"


@pytest.fixture
def copy(folder, tmp_path):
    """A copy to damage."""
    return shutil.copytree(folder, tmp_path / "copy")


def test_documents_know_where_they_come_from(folder):
    dataset = Dataset.open(folder)
    found = [document for split in ("train", "valid", "test") for document in dataset.documents(split)]
    assert len(found) == 20
    for document in found:
        assert document.id == document.group
        assert document.id.startswith(document.source)
    assert [document.text for document in dataset.documents("test")] == list(dataset.texts("test"))


def test_the_hash_is_of_the_content_not_of_the_place(folder, copy):
    assert Dataset.open(folder).hash == Dataset.open(copy).hash
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    assert Dataset.open(folder).hash != Dataset.open(copy).hash


def test_a_flipped_byte_is_found_when_the_shard_is_read(copy):
    path = copy / "train" / "00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    dataset = Dataset.open(copy)
    assert list(dataset.texts("test"))
    with pytest.raises(InputError, match=r"train/00000.parquet: a shard is damaged"):
        list(dataset.texts("train"))


def test_a_missing_shard_is_said(copy):
    (copy / "valid" / "00000.parquet").unlink()
    with pytest.raises(InputError, match="a shard is missing"):
        list(Dataset.open(copy).texts("valid"))


def test_hashes_are_checked_once(copy):
    dataset = Dataset.open(copy)
    first = list(dataset.texts("train"))
    assert dataset.verified == {"train/00000.parquet"}
    assert list(dataset.texts("train")) == first


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', "[1]"])
def test_a_damaged_manifest(copy, content):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(InputError, match="manifest is damaged"):
        Dataset.open(copy)


def test_what_is_not_a_dataset(tmp_path):
    with pytest.raises(InputError, match="makar collect"):
        Dataset.open(tmp_path)


def test_a_split_that_is_none(folder):
    with pytest.raises(InputError, match=r"no such split.*train, valid, test"):
        list(Dataset.open(folder).texts("dev"))
