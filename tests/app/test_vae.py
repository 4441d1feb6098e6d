"""What people use a variational autoencoder for, from the command line."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from makar.app import api
from makar.core.nouns import Model
from makar.data.dataset import Dataset
from makar.families.vae.config import VaeConfig
from makar.families.vae.family import FAMILY
from makar.families.vae.found import DIRECTIONS
from tests.data.drawn import noise


@pytest.fixture
def coder(place):
    """A folder of a tiny model with one direction, a dataset of two classes, and two pictures of its own size."""
    torch.manual_seed(0)
    net = {"kind": "mlp", "sample_size": 8, "in_channels": 3, "hidden_sizes": [16], "latent_size": 4}
    config = VaeConfig.model_validate({"net": net})
    model = Model(FAMILY, config, FAMILY.build(config), {DIRECTIONS: {"sun": torch.tensor([9.0, -9.0, 9.0, -9.0])}})
    (place / "coder").mkdir()
    FAMILY.folder.save(model, place / "coder")
    for seed in range(24):
        path = place / "pictures" / ("moon" if seed % 2 else "sun") / f"{seed:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed, side=8).save(path)
    options = {"test_fraction": 0.3, "valid_fraction": 0.2, "pictures": {"near": 0}}
    api.collect([str(place / "pictures")], place / "set", options)
    for name, seed in (("a.png", 100), ("b.png", 101)):
        noise(seed, side=8).save(place / name)
    return "coder"


def pixels(path):
    with Image.open(path) as picture:
        return picture.tobytes()


def test_a_picture_is_given_back_and_varied(coder, place, call):
    call("generate", coder, "--image", "a.png", "--out", "back.png")
    again = api.generate(coder, {"image": Image.open(place / "a.png")})[0].data
    assert pixels(place / "back.png") == again.tobytes()
    call("generate", coder, "--image", "a.png", "--count", "3", "--set", "variation=0.8", "--out", "some")
    assert len({pixels(place / "some" / f"000{k}.png") for k in range(3)}) == 3


def test_two_pictures_are_the_ends_of_a_way(coder, place, call):
    call("generate", coder, "--image", "a.png", "--image", "b.png", "--count", "5", "--out", "way")
    for end, name in (("0000.png", "a.png"), ("0004.png", "b.png")):
        call("generate", coder, "--image", name, "--out", "end.png")
        assert pixels(place / "way" / end) == pixels(place / "end.png")
    call("generate", coder, "--image", "a.png", "--image", "b.png", "--out", "middle.png")
    assert pixels(place / "middle.png") == pixels(place / "way" / "0002.png")


def test_a_picture_on_the_way_is_made_again_to_the_bit(coder, place, call):
    way = ("--image", "a.png", "--image", "b.png", "--count", "4", "--set", "variation=0.5", "--seed", "3")
    call("generate", coder, *way, "--out", "way")
    assert "bit for bit" in call("generate", "--from", "way/0002.png", "--out", "again.png").out
    call("generate", coder, *way, "--out", "way.png")
    assert "bit for bit" in call("generate", "--from", "way.png", "--out", "again.png").out


def test_an_edit_changes_a_picture_and_another_one_takes_it_back(coder, place, call):
    call("generate", coder, "--image", "a.png", "--out", "plain.png")
    call("generate", coder, "--image", "a.png", "--edit", "+sun", "--out", "sunny.png")
    call("generate", coder, "--image", "a.png", "--edit", "+sun=2", "--edit", "-sun=2", "--out", "both.png")
    assert pixels(place / "sunny.png") != pixels(place / "plain.png") == pixels(place / "both.png")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--edit", "+son"], "did you mean 'sun'"),
        (["--edit", "sun"], "write +NAME, -NAME or +NAME=1.5"),
        (["--image", "a.png", "--image", "b.png", "--image", "a.png"], "more than two pictures"),
        (["--image", "a.png", "--mask", "b.png"], "unknown part of a prompt"),
        (["--image", "big.png"], "make it 8x8"),
        (["cat"], "knows no classes"),
        (["--set", "variation=2"], "variation"),
        (["--set", "steps=3"], "steps"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(coder, place, call, words, said):
    noise(7, side=9).save(place / "big.png")
    err = call("generate", coder, *words, "--out", "x.png", code=2).err
    assert said in err
    assert "Traceback" not in err
    assert not (place / "x.png").exists()


def test_a_picture_is_judged_beside_those_never_seen(coder, place, call):
    Image.new("RGB", (9, 9), (255, 0, 0)).save(place / "red.png")
    files = ["a.png", "red.png"]
    found = json.loads(call("score", coder, *files, "--data", "set", "--json", "--quiet").out)
    assert [score["file"] for score in found] == files
    assert all(0 <= score["rarer"] <= 1 and score["nats"] < 0 for score in found)
    assert json.loads(call("score", coder, *files, "--data", "set", "--json", "--quiet").out) == found
    assert "held-out pictures that are likelier" in call("score", coder, *files, "--data", "set").out
    (place / "cut.png").write_bytes((place / "a.png").read_bytes()[:60])
    assert "cut.png: cannot be read as a picture" in call("score", coder, "cut.png", "--data", "set", code=2).err
    assert "name a dataset with --data" in call("score", coder, "a.png", code=2).err


def test_a_dataset_grows_by_pictures_of_its_own_classes(coder, place, call):
    manifest = json.loads(call("augment", coder, "set", "--out", "more", "--factor", "3", "--json", "--quiet").out)
    before, after = (list(Dataset.open(place / name).pictures("train")) for name in ("set", "more"))
    assert len(after) == 3 * len(before) == manifest["kept"]["train"]["documents"]
    assert after[: len(before)] == before
    made = after[len(before) :]
    assert {picture.source for picture in made} == {"made:coder"}
    assert [picture.label for picture in made] == [picture.label for picture in before for _ in range(2)]
    assert len({picture.image for picture in made}) > len(before)
    call("augment", coder, "set", "--out", "again", "--quiet")
    assert list(Dataset.open(place / "again").pictures("train")) == after


def test_what_cannot_grow_is_refused(coder, place, call, workspace):
    assert "train a VAE" in call("augment", "first", "set", "--out", "more", code=2).err
    assert "a dataset without pictures" in call("augment", coder, "data/mine", "--out", "more", code=2).err
    assert "the folder exists" in call("augment", coder, "set", "--out", "set", code=2).err
    model = api.load(coder)
    net = model.config.net.model_copy(update={"sample_size": 16})
    config = model.config.model_copy(update={"net": net})
    (place / "large").mkdir()
    FAMILY.folder.save(dataclasses.replace(model, config=config, net=FAMILY.build(config)), place / "large")
    assert "collect them with --size 16" in call("augment", "large", "set", "--out", "more", code=2).err
    assert not (place / "more").exists()
