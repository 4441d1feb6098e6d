"""`makar search`: by a text, by a picture, from embeddings that it wrote."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from makar.app import api
from makar.core.errors import InputError, ModelError
from makar.data.collect import collect
from makar.data.config import CollectOptions
from tests.contract.support import fresh
from tests.families.clip.support import saved, tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Twelve captioned pictures, a model, and a text."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "pictures").mkdir()
    for number in range(12):
        Image.new("RGB", (16, 16), (20 * number, 250 - 20 * number, 90)).save(folder / "pictures" / f"{number}.png")
        (folder / "pictures" / f"{number}.txt").write_text(f"picture {number}")
    collect([str(folder / "pictures")], folder / "data", CollectOptions(pictures={"near": 0}))
    saved(tiny(), folder / "model")
    (folder / "note.txt").write_text("no picture")
    return folder


def test_a_picture_finds_itself(place):
    found = api.search(place / "model", place / "data", image=place / "pictures" / "7.png", count=3)
    assert len(found) == 3
    assert found[0].text == "picture 7"
    assert found[0].likeness == pytest.approx(1, abs=1e-4)
    assert found[0].likeness >= found[1].likeness >= found[2].likeness


def test_a_text_finds_what_a_table_of_all_says(place, tmp_path):
    said = []
    found = api.search(
        place / "model", place / "data", "a cat", count=12, out=tmp_path / "all.parquet", say=said.append
    )
    assert any("12 embeddings are in" in line for line in said)
    table = pq.read_table(tmp_path / "all.parquet").to_pydict()
    assert set(table) == {"id", "text", "split", "vector"}
    vectors = torch.tensor(table["vector"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(12), atol=1e-5, rtol=0)
    again = api.search(place / "model", tmp_path / "all.parquet", "a cat", count=12)
    assert [each.id for each in again] == [each.id for each in found]
    assert {each.text for each in again} == {f"picture {number}" for number in range(12)}


def test_the_command_line_says_it_as_a_table_and_as_json(place, call):
    lines = call("search", str(place / "model"), str(place / "data"), "a cat", "--count", "2").out.splitlines()
    assert lines[0].split() == ["fits", "picture", "split", "text"]
    assert len(lines) == 3
    (one,) = json.loads(call("search", str(place / "model"), str(place / "data"), "a cat", "--count=1", "--json").out)
    assert set(one) == {"likeness", "id", "text", "split"}
    assert "makar search" in call("generate", str(place / "model"), "a cat", code=2).err


CASES = {
    "nothing": ({}, "a text or for a picture"),
    "both": ({"text": "a cat", "image": "pictures/1.png"}, "a text or for a picture"),
    "empty": ({"text": " "}, "an empty text"),
    "long": ({"text": "cat " * 10_000}, "too long"),
    "unknown": ({"text": "猫"}, "nothing in the caption"),
    "no picture": ({"image": "note.txt"}, "cannot be read as a picture"),
    "no file": ({"image": "nothing.png"}, "cannot be read"),
    "no table": ({"text": "a cat", "out": "all.csv"}, "as Parquet"),
}


def test_pictures_smaller_than_the_model_sees_are_found(tmp_path):
    (tmp_path / "small").mkdir()
    for number in range(12):
        picture = Image.new("RGB", (8, 8), (20 * number, 0, 90))
        picture.putpixel((number % 8, 3), (255, 255, 255))
        picture.save(tmp_path / "small" / f"{number}.png")
    collect([str(tmp_path / "small")], tmp_path / "data", CollectOptions(pictures={"near": 0}))
    found = api.search(tiny(), tmp_path / "data", image=tmp_path / "small" / "7.png", count=12)
    assert len(found) == 12
    assert found[0].likeness == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_looked_for(place, case):
    given, words = CASES[case]
    paths = {name: place / value for name, value in given.items() if name != "text"}
    with pytest.raises(InputError, match=words):
        api.search(place / "model", place / "data", given.get("text"), **paths)


def test_embeddings_of_another_model_and_no_embeddings(place, tmp_path):
    api.search(place / "model", place / "data", out=tmp_path / "all.parquet")
    other = tiny(seed=1)
    with pytest.raises(InputError, match="another model's"):
        api.search(other, tmp_path / "all.parquet", "a cat")
    (tmp_path / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "few.parquet")
    for name in ("text", "few", "none"):
        with pytest.raises(InputError, match="table of embeddings|no such file"):
            api.search(other, tmp_path / f"{name}.parquet", "a cat")


def test_another_family_and_another_dataset(place, tmp_path):
    with pytest.raises(ModelError, match="finds no pictures"):
        api.search(fresh("gan"), place / "data", "a cat")
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text(f"words and {number} words, enough of them to be kept. " * 20)
    options = CollectOptions(min_chars=1, test_fraction=0.0, valid_fraction=0.0)
    collect([str(tmp_path / f"{number}.txt") for number in range(9)], tmp_path / "texts", options)
    with pytest.raises(InputError, match="without pictures"):
        api.search(tiny(), tmp_path / "texts", "a cat")
