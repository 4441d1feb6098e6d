import io
import json
import os
import tarfile
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from makar.core.errors import InputError
from makar.data import picture_steps as module
from makar.data.collect import collect
from makar.data.config import CollectOptions, PictureOptions
from makar.data.dataset import Dataset
from makar.data.store import SPLITS, Count
from tests.data.drawn import file_of, idx, noise

SPLIT = CollectOptions(test_fraction=0.2, valid_fraction=0.2)


def folder(root, count=30):
    """Two classes of pictures, with a bad one of every kind among them."""
    for seed in range(count):
        path = root / ("moon" if seed % 2 else "sun") / f"{seed:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed).save(path)
    (root / "moon" / "a-cut.png").write_bytes(file_of(noise(99))[:200])
    (root / "moon" / "b-copy.png").write_bytes((root / "moon" / "001.png").read_bytes())
    (root / "sun" / "c-near.jpg").write_bytes(file_of(noise(2), "JPEG", quality=90))
    (root / "sun" / "d.gif").write_bytes(file_of(noise(1), "GIF", save_all=True, append_images=[noise(2)]))
    (root / "sun" / "e.svg").write_text('<svg viewBox="0 0 9 9"><image href="http://example.org"/></svg>')
    noise(200, mode="L").save(root / "moon" / "gray.png")
    (root / "moon" / ".thumb.png").write_bytes(b"hidden")
    return root


def tree(path):
    """Every file of a folder."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def everything(path):
    """All pictures of a dataset by split."""
    dataset = Dataset.open(path)
    return {split: list(dataset.pictures(split)) for split in SPLITS}


def test_everything_that_was_read_is_kept_or_counted(tmp_path):
    manifest = collect([str(folder(tmp_path / "a"))], tmp_path / "out", SPLIT)
    assert sum([*manifest.kept_raw.values(), *manifest.dropped.values()], Count()) == manifest.read
    assert manifest.read.documents == 37
    lost = {reason.removesuffix(" of a test picture"): count.documents for reason, count in manifest.dropped.items()}
    assert lost == {
        "truncated or damaged picture": 1,
        "animated, or of several pages": 1,
        "a drawing that refers to something outside itself": 1,
        "duplicate": 1,
        "hidden": 1,
        "near-duplicate": 1,
    }
    listed = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [row["where"].rpartition("/")[2] for row in listed] == ["a-cut.png", "d.gif", "e.svg", ".thumb.png"]
    assert all(row["fix"] for row in listed)
    assert manifest.kind == "image"
    assert manifest.pictures.classes == ("moon", "sun")
    assert manifest.pictures.channels == 3
    found = everything(tmp_path / "out")
    for split, count in manifest.kept.items():
        assert count == Count(documents=len(found[split]), bytes=sum(len(picture.image) for picture in found[split]))
    picture = next(picture for pictures in found.values() for picture in pictures if picture.id.endswith("003.png"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture.image))), np.asarray(noise(3)))
    assert picture.label == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "0 moon, 1 sun" in card
    assert "| dropped: near-duplicate" in card


def test_the_same_bytes_twice_and_after_an_interruption(tmp_path, monkeypatch):
    source = str(folder(tmp_path / "a"))
    collect([source], tmp_path / "one", SPLIT)
    monkeypatch.setattr(module, "PART_BYTES", 20_000)
    begun, decode = Counter(), module.decode

    def dies(data, where, options):
        begun[where] += 1
        if where.endswith("015.png") and begun[where] == 1:
            raise KeyboardInterrupt
        return decode(data, where, options)

    monkeypatch.setattr(module, "decode", dies)
    with pytest.raises(KeyboardInterrupt):
        collect([source], tmp_path / "two", SPLIT)
    assert not (tmp_path / "two").exists()
    said = []
    collect([source], tmp_path / "two", SPLIT, said.append)
    assert "continuing an interrupted collection" in said
    assert sum(count == 1 for count in begun.values()) > 8, "what was done is not done again"
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_groups_and_near_duplicates_are_on_one_side(tmp_path):
    rows = []
    (tmp_path / "a").mkdir()
    for seed in range(60):
        noise(seed).save(tmp_path / "a" / f"{seed}.png")
        noise(seed).save(tmp_path / "a" / f"{seed}-again.jpg", quality=90)
        rows += [{"file_name": f"{seed}{end}", "group": seed // 3} for end in (".png", "-again.jpg")]
    (tmp_path / "a" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    collect([str(tmp_path / "a")], tmp_path / "out", SPLIT)
    found = everything(tmp_path / "out")
    groups = [{picture.group for picture in pictures} for pictures in found.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    seeds = {split: {p.id.rpartition("/")[2].partition(".")[0].split("-")[0] for p in found[split]} for split in SPLITS}
    assert len(found["train"]) == len(seeds["train"])
    assert sum(map(len, seeds.values())) == len(set.union(*seeds.values())) == 60


def test_the_test_set_of_a_source_stays_its_test_set(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 4, 4), np.uint8)
    pixels = np.stack([np.asarray(Image.fromarray(p).resize((16, 16))) for p in coarse])
    pixels[3] = pixels[50]
    (tmp_path / "a").mkdir()
    for name, part in (("train", pixels[:45]), ("t10k", pixels[45:])):
        (tmp_path / "a" / f"{name}-images-idx3-ubyte").write_bytes(idx(part))
        (tmp_path / "a" / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.arange(len(part), dtype=np.uint8) % 3))
    manifest = collect([str(tmp_path / "a")], tmp_path / "out", SPLIT)
    assert manifest.kept["test"].documents == 15
    assert manifest.dropped["duplicate of a test picture"].documents == 1
    assert any("the one that the source gives: 15" in note for note in manifest.notes)
    found = everything(tmp_path / "out")
    assert all("t10k" in picture.id for picture in found["test"])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(found["test"][2].image))), pixels[47])
    assert [picture.label for picture in found["test"]] == [n % 3 for n in range(15)]


def test_the_size_asked_for_is_the_size_stored(tmp_path):
    (tmp_path / "a").mkdir()
    for seed in range(12):
        noise(seed, side=20 + seed).save(tmp_path / "a" / f"{seed}.png")
    options = SPLIT.model_copy(update={"pictures": PictureOptions(size=24)})
    manifest = collect([str(tmp_path / "a")], tmp_path / "out", options)
    assert manifest.dropped == {"smaller than 24 pixels": manifest.dropped["smaller than 24 pixels"]}
    assert manifest.dropped["smaller than 24 pixels"].documents == 4
    assert manifest.pictures.smallest == manifest.pictures.largest == (24, 24)
    assert manifest.options.pictures.size == 24


def test_rare_classes_are_noted_and_mixed_labels_refused(tmp_path):
    root = folder(tmp_path / "a")
    (root / "star").mkdir()
    noise(300).save(root / "star" / "only.png")
    manifest = collect([str(root)], tmp_path / "out", SPLIT)
    assert any("1 class(es) have fewer than two pictures in training: star" in note for note in manifest.notes)
    (tmp_path / "b").mkdir()
    noise(400).save(tmp_path / "b" / "x.png")
    with pytest.raises(InputError, match="with and without a class"):
        collect([str(root), str(tmp_path / "b")], tmp_path / "both", SPLIT)
    assert not list(tmp_path.glob(".both*"))


def test_names_and_captions_that_are_no_unicode_do_no_harm(tmp_path):
    root = folder(tmp_path / "a", 6)
    (root / "sun" / os.fsdecode(b"caf\xe9.png")).write_bytes(file_of(noise(70)))
    (root / "moon" / os.fsdecode(b"cut\xe9.png")).write_bytes(b"no picture")
    (root / "moon" / "001.json").write_text('{"caption": "\\ud800"}')
    with tarfile.open(root / "sun" / "more.tar", "w") as archive:
        archive.add(root / "sun" / os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"x\xe9.png"))
    options = CollectOptions(test_fraction=0, valid_fraction=0)
    manifest = collect([str(root)], tmp_path / "out", options)
    ids = [picture.id.rpartition("/")[2] for picture in Dataset.open(tmp_path / "out").pictures("train")]
    assert "caf?.png" in ids
    assert manifest.dropped["not what its name says"].documents == 1
    assert "cut?.png" in (tmp_path / "out" / "quarantine.jsonl").read_text()


def test_nothing_is_asked_of_pictures(tmp_path):
    with pytest.raises(InputError, match="made of prose"):
        collect([str(folder(tmp_path / "a", 2))], tmp_path / "out", SPLIT.model_copy(update={"ask": ("topic",)}))


def test_nothing_left_is_said(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="nothing readable in the source: not a picture of a known format"):
        collect([str(tmp_path / "a")], tmp_path / "out", SPLIT)
    noise(0).save(tmp_path / "a" / "x.png")
    with pytest.raises(InputError, match="too small"):
        collect([str(tmp_path / "a")], tmp_path / "out", SPLIT)


def test_a_dataset_of_pictures_gives_no_texts_and_another_no_pictures(tmp_path):
    collect([str(folder(tmp_path / "a"))], tmp_path / "out", SPLIT)
    with pytest.raises(InputError, match="a dataset of pictures"):
        list(Dataset.open(tmp_path / "out").texts("train"))


def test_the_shards_are_what_the_library_datasets_knows(tmp_path):
    datasets = pytest.importorskip("datasets")
    manifest = collect([str(folder(tmp_path / "a"))], tmp_path / "out", SPLIT)
    table = pq.read_schema(tmp_path / "out" / manifest.shards[0].path)
    features = datasets.Features.from_arrow_schema(table)
    assert isinstance(features["image"], datasets.Image)
    assert features["label"].names == ["moon", "sun"]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({"10", "9", "1"}, ("1", "9", "10")),
        ({"b", "a", "2"}, ("2", "a", "b")),
        ({"Bag", "Coat"}, tuple(module.CLASS_NAMES["fashion-mnist"])),
        (set(), ()),
    ],
)
def test_classes_have_an_order(names, wanted):
    assert module.ordered(names) == wanted
