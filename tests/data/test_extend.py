"""A dataset with pictures that a model made says which they are, and keeps what is held out."""

from dataclasses import replace

import pytest

from makar.core.errors import InputError
from makar.data.collect import collect
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.data.extend import extend
from makar.data.store import SPLITS, Count, SourceRecord
from tests.data.drawn import file_of, noise

MADE = SourceRecord(name="made:tiny", sha256="0" * 64, bytes=0, licence="made by a model from the other sources")


@pytest.fixture
def dataset(tmp_path):
    for seed in range(20):
        path = tmp_path / "pictures" / ("moon" if seed % 2 else "sun") / f"{seed:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed, side=16).save(path)
    collect([str(tmp_path / "pictures")], tmp_path / "plain", CollectOptions(test_fraction=0.2, valid_fraction=0.2))
    return Dataset.open(tmp_path / "plain")


def test_it_says_which_pictures_were_made(dataset, tmp_path):
    before = {split: list(dataset.pictures(split)) for split in SPLITS}
    new = file_of(noise(99, side=16))
    made = [replace(picture, image=new, id=f"{picture.id}#made-1", source=MADE.name) for picture in before["train"]]
    manifest = extend(dataset, made, tmp_path / "more", MADE)
    again = Dataset.open(tmp_path / "more")
    assert again.manifest == manifest
    assert {split: list(again.pictures(split)) for split in SPLITS} == before | {"train": [*before["train"], *made]}
    assert sum([*manifest.kept_raw.values(), *manifest.dropped.values()], Count()) == manifest.read
    assert manifest.kept["train"] == dataset.manifest.kept["train"] + Count(
        documents=len(made), bytes=len(made) * len(new)
    )
    card = (tmp_path / "more" / "README.md").read_text()
    assert f"{len(made)} pictures of the training split were made by a model" in card
    assert "made:tiny" in card
    assert (tmp_path / "more" / "quarantine.jsonl").read_bytes() == (dataset.path / "quarantine.jsonl").read_bytes()


def test_no_folder_is_overwritten(dataset):
    with pytest.raises(InputError, match="the folder exists"):
        extend(dataset, [], dataset.path, MADE)


def test_what_fails_on_the_way_leaves_nothing(dataset, tmp_path):
    def broken():
        yield next(dataset.pictures("train"))
        raise InputError("no more", fix="stop")

    with pytest.raises(InputError):
        extend(dataset, broken(), tmp_path / "more", MADE)
    assert not (tmp_path / "more").exists()
