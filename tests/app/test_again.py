"""Pictures that say how they were made: made again to the bit, looked at, and refused where something is another."""

import json

import pytest
import torch
from PIL import Image

from makar.app import again as module
from makar.app import api
from makar.codecs import signing
from makar.codecs.png import MANIFEST, chunks, texts_of
from makar.core.nouns import Model
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.family import FAMILY
from makar.recipes.provenance import MADE, RECIPE, ROWS, Provenance, maker, read_provenance, weights_hash, write_picture

NET = {
    "kind": "unet", "sample_size": 8, "in_channels": 3, "num_classes": 2, "block_out_channels": [8],
    "down_block_types": ["DownBlock2D"], "layers_per_block": 1, "add_attention": False,
}  # fmt: skip


def painter(place, name="painter", seed=0):
    """A run folder with a tiny diffusion model of two classes."""
    torch.manual_seed(seed)
    config = DiffusionConfig.model_validate({"net": NET, "classes": ["cat", "dog"]})
    net = FAMILY.build(config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (parameter.dim() == 1))
    folder = place / "runs" / name / "model"
    folder.mkdir(parents=True)
    FAMILY.folder.save(Model(FAMILY, config, net, generation={"steps": 2}), folder)
    (folder.parent / "recipe.toml").write_text("# a recipe\n[train]\nsteps = 1\n")
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    painter(tmp_path)
    return tmp_path


def pixels(path):
    with Image.open(path) as picture:
        return picture.tobytes()


def test_a_picture_of_many_is_made_again_to_the_bit_without_the_name_of_its_model(place, call):
    call("generate", "painter", "dog", "--count", "5", "--seed", "7", "--out", "many", "--set", "sampler=ddpm")
    texts = texts_of((place / "many" / "0003.png").read_bytes())
    made, (row,) = json.loads(texts[MADE]), json.loads(texts[ROWS])
    assert (row["prompt"], row["seed"]) == ("dog", 10)
    assert (made["model"], made["family"], made["batch"]) == ("painter", "diffusion", {"rows": 5, "first": 3})
    assert texts[RECIPE].startswith("# a recipe")
    said = call("generate", "--from", "many/0003.png", "--out", "again.png").out
    assert "bit for bit" in said
    assert pixels(place / "again.png") == pixels(place / "many" / "0003.png")
    assert "bit for bit" in call("generate", "--from", "again.png", "--out", "third.png").out
    with Image.open(place / "many" / "0003.png") as picture:
        changed = picture.copy()
    changed.putpixel((0, 0), tuple(value ^ 1 for value in changed.getpixel((0, 0))))
    source = read_provenance((place / "many" / "0003.png").read_bytes(), "x")
    write_picture(changed, source, place / "changed.png")
    found = json.loads(call("generate", "--from", "changed.png", "--out", "fourth.png", "--json").out)
    assert (found["different"], found["farthest"]) == (1, 1)


def test_a_grid_and_what_was_begun_from_a_picture_are_made_again(place, call):
    Image.new("RGB", (8, 8), (255, 0, 0)).save(place / "red.png")
    call("generate", "painter", "cat", "--count", "4", "--image", "red.png", "--out", "grid.png")
    assert "bit for bit" in call("generate", "--from", "grid.png", "--out", "again.png").out
    Image.new("RGB", (8, 8), (254, 0, 0)).save(place / "red.png")
    assert "gone or another" in call("generate", "--from", "grid.png", "--out", "again.png", code=2).err


def test_what_was_made_large_is_made_again(place, call):
    small = Image.effect_noise((4, 4), 60).convert("RGB")
    small.save(place / "small.png")
    call("generate", "painter", "cat", "--enlarge", "small.png", "--out", "large.png")
    assert pixels(place / "large.png") == api.generate("painter", {"label": "cat", "small": small})[0].data.tobytes()
    assert "bit for bit" in call("generate", "--from", "large.png", "--out", "again.png").out
    assert "does not fit" in call("generate", "painter", "--enlarge", "large.png", "--out", "no.png", code=2).err


def test_what_was_painted_beyond_a_picture_keeps_it_and_is_made_again(place, call):
    Image.new("RGB", (4, 6), (255, 0, 0)).save(place / "red.png")
    words = ("--image", "red.png", "--outpaint", "3,0,1,2", "--out", "wide.png")
    call("generate", "painter", "cat", "--count", "4", *words)
    (row, *_) = json.loads(texts_of((place / "wide.png").read_bytes())[ROWS])
    assert (row["outpaint"], row["settings"]["strength"]) == ("3,0,1,2", 1.0)
    with Image.open(place / "wide.png") as grid:
        assert grid.size == (16, 16)
        for across, down in ((0, 0), (8, 8)):
            assert grid.crop((across + 3, down, across + 7, down + 6)).getcolors() == [(24, (255, 0, 0))]
            assert len(grid.crop((across, down, across + 3, down + 8)).getcolors()) > 4
    assert "bit for bit" in call("generate", "--from", "wide.png", "--out", "again.png").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--outpaint", "1,2,3"], "no margins"),
        (["--outpaint", "0,0,0,0"], "no margins"),
        (["--outpaint", "1,0,-1,0"], "no margins"),
        (["--outpaint", "99999999,0,0,0"], "up to 4096"),
        (["--outpaint", "2,2,2,3"], "another size"),
        (["--outpaint", "2,2,2,2", "--mask", "red.png"], "alone with --image"),
    ],
)
def test_margins_that_cannot_be_painted_are_refused(place, call, words, said):
    Image.new("RGB", (4, 4), (255, 0, 0)).save(place / "red.png")
    assert said in call("generate", "painter", "cat", "--image", "red.png", *words, "--out", "a.png", code=2).err
    assert "alone with --image" in call("generate", "painter", "--outpaint", "1,1,1,1", "--out", "a.png", code=2).err


def test_a_picture_that_is_made_again_in_its_own_place_is_compared_with_what_stood_there(place, call):
    call("generate", "painter", "cat", "--seed", "3", "--out", "one.png")
    source = read_provenance((place / "one.png").read_bytes(), "one.png")
    write_picture(Image.new("RGB", (8, 8), (1, 2, 3)), source, place / "one.png")
    assert "64 pixels differ" in call("generate", "--from", "one.png", "--out", "one.png").out
    assert "bit for bit" in call("generate", "--from", "one.png", "--out", "one.png").out


def test_other_weights_are_refused_and_other_versions_said(place, call, monkeypatch):
    call("generate", "painter", "cat", "--out", "one.png")
    painter(place, "other", seed=1)
    err = call("generate", "other", "--from", "one.png", "--out", "again.png", code=2).err
    assert "made by other weights" in err
    model = api.load("painter")
    made, recipe = maker(model, "painter", None)
    assert recipe is None
    source = read_provenance((place / "one.png").read_bytes(), "one.png")
    said = []
    module.compare(Provenance(source.rows, {**source.made, "torch": "1.0"}), made, place, said.append)
    assert said == [f"torch was 1.0 and is {torch.__version__}: the picture may differ by rounding"]


def test_the_hash_of_weights_covers_what_a_model_is_helped_by(place):
    from dataclasses import dataclass, replace

    @dataclass
    class Codec:
        model: Model

    plain, other = api.load("painter"), api.load(painter(place, "guide", seed=2))
    found = {weights_hash(plain), weights_hash(replace(plain, parts={"guide": other}))}
    found |= {weights_hash(replace(plain, parts={"codec": Codec(other)})), weights_hash(other)}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({}, "does not say how makar made it"),
        ({ROWS: "no json"}, "is damaged"),
        ({ROWS: "[]"}, "is damaged"),
        ({ROWS: '[{"seed": 1}]', MADE: "{}"}, "does not name its model"),
        ({ROWS: '[{"held": 1}]', MADE: '{"model": "painter", "weights": "right"}'}, "does not say its seed"),
        (
            {ROWS: '[{"seed": 1}]', MADE: '{"model": "painter", "weights": "right", "batch": {"rows": 1, "first": 4}}'},
            "batch does not fit",
        ),
        ({ROWS: '[{"seed": 1}]', MADE: '{"model": "painter", "weights": "right", "batch": [1]}'}, "batch does not fit"),
        ({ROWS: '[{"seed": 1, "settings": [1]}]', MADE: '{"model": "painter", "weights": "right"}'}, "is damaged"),
        ({ROWS: '[{"seed": 1, "image": 5}]', MADE: '{"model": "painter", "weights": "right"}'}, "is damaged"),
        ({ROWS: '[{"seed": 1, "edit": 5}]', MADE: '{"model": "painter", "weights": "right"}'}, "is damaged"),
        ({ROWS: '[{"seed": 1, "share": 0.5}]', MADE: '{"model": "painter", "weights": "right"}'}, "is damaged"),
        ({ROWS: '[{"seed": 1, "settings": {"steps": 0}}]', MADE: '{"model": "painter", "weights": "right"}'}, "steps"),
    ],
)
def test_a_file_that_does_not_say_enough_is_refused_in_one_line(place, call, texts, said):
    from makar.codecs.png import encoded

    right = maker(api.load("painter"), "painter")[0]["weights"]
    texts = {key: text.replace("right", right) for key, text in texts.items()}
    (place / "x.png").write_bytes(encoded(Image.new("RGB", (8, 8)), texts))
    err = call("generate", "--from", "x.png", "--out", "again.png", code=2).err
    assert said in err.strip().splitlines()[-1]
    assert "Traceback" not in err


def test_inspect_tells_what_made_a_picture_and_notices_a_flipped_byte(place, call):
    call("generate", "painter", "cat", "--seed", "3", "--out", "one.png")
    found = json.loads(call("inspect", "one.png", "--json").out)
    assert (found["kind"], found["intact"]) == ("picture", True)
    assert found["facts"]["pictures"][0]["seed"] == 3
    assert len(found["facts"]["made_by"]["weights"]) == 64
    data = (place / "one.png").read_bytes()
    if signing.available():
        assert MANIFEST in dict(chunks(data))
        assert found["facts"]["signature"].startswith("signed here: makar")
    for at in (len(data) // 2, len(data) - 20):
        (place / "bad.png").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert "damaged" in call("inspect", "bad.png", code=2).out


def test_without_a_key_or_the_package_a_picture_is_unsigned_and_says_why(place, call, monkeypatch):
    monkeypatch.setenv("MAKAR_CONFIG", str(place / "runs" / "painter" / "recipe.toml"))
    call("generate", "painter", "cat", "--out", "one.png")
    made = json.loads(texts_of((place / "one.png").read_bytes())[MADE])
    assert ("unsigned" in made) == signing.available()
    monkeypatch.setattr(signing, "available", lambda: False)
    call("generate", "painter", "cat", "--out", "two.png")
    assert "unsigned" not in json.loads(texts_of((place / "two.png").read_bytes())[MADE])
    assert json.loads(call("inspect", "two.png", "--json").out)["facts"]["signature"] == "none"
