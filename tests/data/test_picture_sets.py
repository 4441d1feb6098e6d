import gzip
import io
import json
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from makar.core.errors import InputError
from makar.data.census import kind_of_sources
from makar.data.collect import collect
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.data.document import Fault
from makar.data.fetch import fetch
from makar.data.picture_sets import Found, pictures
from makar.data.picture_survey import Facts, survey
from makar.data.pictures import with_keywords
from makar.data.sprites import read_index
from tests.data.drawn import file_of, idx, noise

PNG = file_of(noise(0, side=8))


def lay(root, files):
    """A folder of files; None stands for a picture."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG if data is None else data if isinstance(data, bytes) else data.encode())
    return root


def packed(path, files):
    """The same in a .tar or .zip."""
    data = {name: PNG if data is None else data.encode() for name, data in files.items()}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in data.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w") as archive:
            for name, content in data.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def read(path):
    """What is said of each picture of a source, and what could not be used."""
    source = fetch(str(path))
    items = list(pictures(source, survey(source)))
    found = {item.id.removeprefix(f"{source.name}/"): item.facts for item in items if isinstance(item, Found)}
    return found, sorted(item.reason for item in items if isinstance(item, Fault))


def test_folders_are_classes(tmp_path):
    found, faults = read(
        lay(tmp_path / "a", {"cat/1.png": None, "cat/2.jpg": None, "dog/1.webp": None, "stray.png": None})
    )
    assert found == {"cat/1.png": Facts(label="cat"), "cat/2.jpg": Facts(label="cat"), "dog/1.webp": Facts(label="dog")}
    assert faults == ["label missing"]


@pytest.mark.parametrize(
    "names", [("a/1.png", "a/2.png"), ("1.png",), ("a/b/1.png", "c/2.png"), ("00000/1.png", "00001/2.png")]
)
def test_folders_that_are_no_classes(tmp_path, names):
    found, faults = read(lay(tmp_path / "a", dict.fromkeys(names)))
    assert [replace(facts, keywords=()) for facts in found.values()] == [Facts()] * len(names)
    assert not faults


def test_folders_may_name_splits(tmp_path):
    names = ("train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "test/dog/4.png")
    found, _ = read(lay(tmp_path / "a", dict.fromkeys(names)))
    assert [(facts.label, facts.split) for facts in found.values()] == [
        ("dog", "test"), ("cat", "train"), ("dog", "train"), ("cat", "valid"),
    ]  # fmt: skip
    alone, _ = read(lay(tmp_path / "b", {"test/1.png": None}))
    assert alone == {"test/1.png": Facts()}, "a folder alone splits nothing"


def test_rows_say_what_pictures_show(tmp_path):
    rows = [
        {"file_name": "a.png", "text": "a moon", "label": 3, "group": "night"},
        {"file_name": "deep/b.png", "text": "a sun", "label": "day"},
        {"file_name": "unlabelled.png", "text": "a cloud"},
        {"file_name": "gone.png", "text": "nothing", "label": 1},
        {"text": "no name"},
    ]
    lines = "\n".join([*map(json.dumps, rows), "{broken", ""])
    files = {"metadata.jsonl": lines, "a.png": None, "deep/b.png": None, "unlabelled.png": None, "alone.png": None}
    found, faults = read(lay(tmp_path / "a", files))
    group = f"{tmp_path}/a/metadata.jsonl#night"
    assert found == {"a.png": Facts("a moon", "3", group), "deep/b.png": Facts("a sun", "day")}
    assert faults == [
        "a row without a file name", "a row without a file name", "a row without its picture", "label missing",
        "no row in metadata.jsonl",
    ]  # fmt: skip


def test_names_of_rows_are_read_however_they_are_written(tmp_path):
    names = ["./a.png", "deep\\b.png", "deep/./c.png", "../d.png", "deep/../../d.png"]
    rows = [json.dumps({"file_name": name, "text": name}) for name in names]
    files = {"in/metadata.jsonl": "\n".join(rows), "in/a.png": None, "in/deep/b.png": None, "in/deep/c.png": None}
    found, faults = read(lay(tmp_path / "a", files | {"d.png": None}))
    texts = {name.removeprefix("in/"): facts.text for name, facts in found.items()}
    assert texts == {"a.png": "./a.png", "deep/b.png": "deep\\b.png", "deep/c.png": "deep/./c.png", "d.png": None}
    assert faults == ["a row that leads out of its folder"] * 2


def test_captions_stand_beside_pictures(tmp_path):
    files = {"a.png": None, "a.txt": " a moon\n", "b.png": None, "gone.txt": "nothing", "README.txt": "About."}
    found, faults = read(lay(tmp_path / "a", files | {"vast.png": None, "vast.txt": "x" * 70_000}))
    assert found == {"a.png": Facts("a moon"), "b.png": Facts(), "vast.png": Facts()}
    assert faults == ["a caption without its picture", "cannot be read: too large"]


def test_webdataset_tars(tmp_path):
    files = {
        "0.cls": "1",
        "0.png": None,
        "0.txt": "a moon",
        "1.png": None,
        "1.json": '{"caption": "a sun", "label": 0}',
    }
    found, faults = read(packed(tmp_path / "a-000.tar", files | {"2.png": None, "2.txt": "no class"}))
    assert found == {"0.png": Facts("a moon", "1"), "1.png": Facts("a sun", "0")}
    assert faults == ["label missing"]
    lay(tmp_path / "b", {})
    packed(lay(tmp_path / "b", {"x": "x"}) / "b.tar", files)
    assert len(read(tmp_path / "b")[0]) == 2


@pytest.mark.parametrize(
    ("labels", "wanted"), [([["00000/0.png", 2], ["00001/1.png", 10]], ["2", "10"]), (None, [None, None])]
)
def test_stylegan_zips(tmp_path, labels, wanted):
    files = {"00000/0.png": None, "00001/1.png": None, "dataset.json": json.dumps({"labels": labels})}
    found, faults = read(packed(tmp_path / "a.zip", files))
    assert [facts.label for facts in found.values()] == wanted
    assert not faults
    more, faults = read(packed(tmp_path / "b.zip", files | {"00002/2.png": None}))
    assert (len(more), faults) == ((2, ["label missing"]) if labels else (3, []))


def mnist(root, name="train", count=3, labels=3):
    """A set in IDX, the pictures packed."""
    pixels = np.arange(count * 20, dtype=np.uint8).reshape(count, 5, 4)
    root.mkdir(exist_ok=True)
    (root / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
    (root / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.arange(labels, dtype=np.uint8)))
    return pixels


def test_idx_gives_arrays_labels_and_splits(tmp_path):
    pixels = mnist(tmp_path / "a")
    mnist(tmp_path / "a", "t10k", 2)
    source = fetch(str(tmp_path / "a"))
    items = list(pictures(source, survey(source)))
    assert [(item.facts.label, item.facts.split) for item in items] == [
        ("0", "test"), ("1", "test"), ("0", "train"), ("1", "train"), ("2", "train"),
    ]  # fmt: skip
    assert all(np.array_equal(item.content, wanted) for item, wanted in zip(items[2:], pixels, strict=True))
    mnist(tmp_path / "fashion-mnist")
    assert [facts.label for facts in read(tmp_path / "fashion-mnist")[0].values()] == [
        "T-shirt/top",
        "Trouser",
        "Pullover",
    ]


def test_idx_that_is_cut_gives_what_is_there(tmp_path):
    mnist(tmp_path / "a", labels=2)
    assert (len(read(tmp_path / "a")[0]), read(tmp_path / "a")[1]) == (2, ["label missing"])
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"):
        mnist(tmp_path / "a")
        whole = (tmp_path / "a" / name).read_bytes()
        for cut in range(0, len(whole), 5):
            (tmp_path / "a" / name).write_bytes(whole[:cut])
            found, faults = read(tmp_path / "a")
            assert len(found) <= 3
            assert faults


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_an_archive_that_is_cut_is_a_fault_and_the_rest_is_read(tmp_path, suffix):
    whole = packed(tmp_path / f"a{suffix}", {"0.png": None, "0.txt": "a moon", "1.png": None}).read_bytes()
    lay(tmp_path / "set", {"z.png": None})
    for cut in range(0, len(whole) - 1, 611):
        (tmp_path / "set" / f"a{suffix}").write_bytes(whole[:cut])
        found, faults = read(tmp_path / "set")
        assert "z.png" in found
        assert len(found) == 4 or faults or suffix == ".tar", "a tar may end anywhere between two members"


def test_an_index_of_emoji(tmp_path):
    rows = [
        {"name": "WAVING HAND", "unified": "1F44B", "image": "1f44b.png", "category": "People",
         "skin_variations": {"1F3FB-1F3FF": {"image": "1f44b-x.png"}}},
        {"short_name": "new_moon", "image": "moon.png"},
    ]  # fmt: skip
    files = {"emoji.json": json.dumps(rows), "img/1f44b.png": None, "img/1f44b-x.png": None, "img/moon.png": None}
    found, faults = read(lay(tmp_path / "a", files | {"sheets/64.png": None, "package.json": '{"license": "MIT"}'}))
    group = f"{tmp_path}/a/emoji.json#1F44B"
    assert found == {
        "img/1f44b.png": Facts("waving hand", "People", group),
        "img/1f44b-x.png": Facts("waving hand, light and dark skin tone", "People", group),
        "img/moon.png": Facts("new moon", None, f"{tmp_path}/a/emoji.json#moon.png"),
    }
    assert faults == ["not in the index of pictures"]


ANIMALS = [f"1f4{number:02x}" for number in range(24)]


def test_emoji_without_an_index_are_named_after_their_code_points(tmp_path):
    extra = ("1f431", "1f468-200d-1f373", "1f44b-1f3fd", "1f1e9-1f1ea", "0031-fe0f-20e3", "1fafe", "u1f600_1f3fb")
    found, faults = read(lay(tmp_path / "set", {f"assets/{name}.webp": None for name in (*ANIMALS, *extra)}))
    assert not faults
    said = {name.rpartition("/")[2].removesuffix(".webp"): facts.text for name, facts in found.items()}
    assert said["1f431"] == "cat face"
    assert said["1f468-200d-1f373"] == "man, cooking"
    assert said["1f44b-1f3fd"] == "waving hand sign, medium skin tone"
    assert said["1f1e9-1f1ea"] == "flag: de"
    assert said["0031-fe0f-20e3"] == "digit one, keycap"
    assert said["1f400"] == "rat"
    assert not said["1fafe"]  # no character, as far as this Python knows
    groups = {name.rpartition("/")[2]: facts.group for name, facts in found.items()}
    assert groups["1f44b-1f3fd.webp"] == "1F44B"


@pytest.mark.parametrize(
    "names",
    [
        [f"{number:06}" for number in range(1000, 1040)],  # photos by number
        [f"{number}" for number in range(4096, 4136)],
        [*ANIMALS, "readme"],
        [*ANIMALS, "1f999999"],
    ],
)
def test_pictures_with_numbers_for_names_are_no_emoji(tmp_path, names):
    found, _ = read(lay(tmp_path / "set", {f"{name}.png": None for name in names}))
    assert {facts.text for facts in found.values()} == {None}


def test_folders_that_are_no_classes_are_keywords_of_what_has_a_title(tmp_path):
    drawn = {"art/animals/birds/big_owl.png": "An owl", "art/animals/cat.png": "A cat", "art/moon.png": None}
    for name, title in drawn.items():
        path = tmp_path / "set" / "share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        told = PngInfo()
        if title:
            told.add_text("Title", title)
        Image.new("RGB", (8, 8), (len(name), 3, 9)).save(path, pnginfo=told)
    (tmp_path / "set" / "share" / "art" / "animals" / "birds" / "hen.png").write_bytes(PNG)
    (tmp_path / "set" / "share" / "art" / "animals" / "birds" / "hen.txt").write_text("A hen that I drew.")
    collect(
        [str(tmp_path / "set")],
        tmp_path / "out",
        CollectOptions(test_fraction=0, valid_fraction=0, pictures={"near": 0}),
    )
    texts = {
        picture.id.rpartition("/")[2]: picture.text for picture in Dataset.open(tmp_path / "out").pictures("train")
    }
    assert texts == {
        "big_owl.png": "An owl, animals, birds", "cat.png": "A cat, animals", "moon.png": None,
        "hen.png": "A hen that I drew.",
    }  # fmt: skip
    assert with_keywords("Penguins among animals", ("animals", "big_birds")) == "Penguins among animals, big birds"


def test_a_caption_in_many_languages_is_its_first(tmp_path):
    said = "A Russian owl.\nde.utf8=Eine Eule.\npt_BR.utf8=Uma coruja.\nca@valencia.utf8=Un.\nson.utf8=\n"
    found, _ = read(
        lay(tmp_path / "stamps", {"owl.png": None, "owl.txt": said, "cat.png": None, "cat.txt": "a.utf8 cat"})
    )
    assert found["owl.png"].text == "A Russian owl."
    assert found["cat.png"].text == "a.utf8 cat"


@pytest.mark.parametrize("rows", [[], {}, None, 3, [1], [{"image": 3}], [{"image": "a.png"}, {"name": "b"}]])
def test_other_lists_are_no_index(rows):
    assert read_index(rows, "here") == {}


def test_texts_and_pictures_are_told_apart(tmp_path):
    captions = {f"{n}.png": None for n in range(5)} | {f"{n}.txt": "a moon" for n in range(5)}
    kinds = {
        "image": captions | {"README.md": "About.", "metadata.jsonl": "", "LICENSE": "Free."},
        "text": {f"{n}.txt": "a moon" for n in range(20)} | {"icon.png": None},
    }
    for kind, files in kinds.items():
        assert kind_of_sources([fetch(str(lay(tmp_path / kind, files)))]) == kind
    assert kind_of_sources([fetch(str(tmp_path / "image" / "1.png"))]) == "image"
    assert kind_of_sources([fetch(str(tmp_path / "text" / "1.txt"))]) == "text"
    mixed = lay(tmp_path / "mixed", {"a.txt": "a poem", "b.md": "a poem", "c.png": None, "d.png": None})
    with pytest.raises(
        InputError, match=r"mixed: texts and pictures together \(got '2 texts, 2 pictures'\); collect them"
    ):
        kind_of_sources([fetch(str(mixed))])


def saved(array):
    """An array as NumPy writes it."""
    memory = io.BytesIO()
    np.save(memory, array)
    return memory.getvalue()


def test_arrays_are_pictures(tmp_path):
    gray, colour = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.zeros((1, 3, 4, 3), np.uint8)
    files = {"a.npy": saved(gray), "b.npy": saved(gray / 255), "c.npy": saved(colour)}
    source = fetch(str(lay(tmp_path / "a", files)))
    found = [item.content for item in pictures(source, survey(source))]
    assert all(np.array_equal(one, wanted) for one, wanted in zip(found, [*gray, *gray, *colour], strict=True))


OTHERS = (
    np.zeros(3), np.zeros((2, 3, 4, 2)), np.full((2, 3, 4), 2.0), np.full((2, 3, 4), np.nan),
    np.zeros((2, 3, 4), np.int64), np.array([{}]), np.zeros((0, 3, 4)),
)  # fmt: skip


@pytest.mark.parametrize("array", OTHERS)
def test_other_arrays_are_faults(tmp_path, array):
    found, faults = read(lay(tmp_path / "a", {"a.npy": saved(array), "b.png": None}))
    assert list(found) == ["b.png"]
    assert len(faults) == 1
    cut = lay(tmp_path / "a", {"a.npy": saved(np.zeros((2, 3, 4)))[:-9]})
    assert len(read(cut)[1]) == 1


def test_a_sheet_is_cut_where_pictures_are_no_files(tmp_path):
    sheet = Image.new("RGBA", (3 * 10, 3 * 10))
    rows, tiles = [], {}
    for n, (x, y) in enumerate(((0, 0), (2, 1), (1, 2))):
        tiles[f"{n}.png"] = noise(n, side=8, mode="RGBA")
        sheet.paste(tiles[f"{n}.png"], (10 * x + 1, 10 * y + 1))
        rows.append({"name": f"No {n}", "image": f"{n}.png", "sheet_x": x, "sheet_y": y})
    rows[0]["skin_variations"] = {"1F3FB": {"image": "2.png", **{key: rows[2][key] for key in ("sheet_x", "sheet_y")}}}
    files = {"emoji.json": json.dumps(rows[:2]), "sheets/8.png": file_of(sheet), "sheets/4.png": None}
    source = fetch(str(lay(tmp_path / "a", files)))
    items = [item for item in pictures(source, survey(source)) if isinstance(item, Found)]
    assert {item.id.rpartition("#")[2]: item.facts.text for item in items} == {
        "0.png": "no 0", "2.png": "no 0, light skin tone", "1.png": "no 1",
    }  # fmt: skip
    for item in items:
        assert Image.open(io.BytesIO(item.content)).tobytes() == tiles[item.id.rpartition("#")[2]].tobytes()
    lay(tmp_path / "a", {"sheets/8.png": file_of(sheet.crop((0, 0, 20, 20)))})
    assert "a sheet that does not fit its index" in read(tmp_path / "a")[1]
    lay(tmp_path / "a", {"sheets/8.png": b"no sheet"})
    assert "not a picture of a known format" in read(tmp_path / "a")[1]
