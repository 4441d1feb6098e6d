"""Folders that others made, whole and broken."""

import json

import pytest
import torch

from makar.core.errors import ModelError
from makar.core.tensors import load_tensors, save_tensors
from makar.families.llava.family import FAMILY


@pytest.fixture
def folder(make, tmp_path):
    place = tmp_path / "model"
    place.mkdir()
    FAMILY.folder.save(make(), place)
    return place


def edit(folder, name="config.json", **changes):
    """Change fields of a JSON file; None takes one out, and "a.b" names one inside another."""
    whole = json.loads((folder / name).read_text())
    for key, value in changes.items():
        *path, last = key.split("__")
        table = whole
        for each in path:
            table = table[each]
        table.pop(last, None)
        if value is not None:
            table[last] = value
    (folder / name).write_text(json.dumps(whole))


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("vision_tower.vision_model.", "vision_tower."),
        lambda name: "model." + name.replace("language_model.model.", "language_model."),
    ],
    ids=["flat tower", "all inside model"],
)
def test_names_of_every_version_are_known(folder, make, rename):
    weights = load_tensors(folder / "model.safetensors")
    save_tensors(folder / "model.safetensors", {rename(name): tensor for name, tensor in weights.items()})
    net = FAMILY.folder.load(folder).net
    assert all(
        torch.equal(a, b) for a, b in zip(net.state_dict().values(), make().net.state_dict().values(), strict=True)
    )


def test_a_folder_that_says_nothing_of_pictures_is_of_minus_one_to_one(folder):
    (folder / "preprocessor_config.json").unlink()
    assert FAMILY.folder.load(folder).config.image_mean == (0.5, 0.5, 0.5)


def test_means_and_deviations_of_a_folder_are_kept(folder):
    edit(folder, "preprocessor_config.json", image_mean=[0.1, 0.2, 0.3])
    model = FAMILY.folder.load(folder)
    assert model.config.image_mean == (0.1, 0.2, 0.3)
    FAMILY.folder.save(model, folder)
    assert json.loads((folder / "preprocessor_config.json").read_text())["image_mean"] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vision_config": None}, "'vision_config' is missing"),
        ({"text_config": None}, "'text_config' is missing"),
        ({"vision_config__model_type": "siglip_vision_model"}, "another tower"),
        ({"vision_feature_layer": [-2, -1]}, "several layers"),
        ({"vision_feature_layer": -9}, "vision_feature_layer"),
        ({"image_token_index": 300}, "image_token_index"),
        ({"text_config__model_type": "gemma"}, "unknown kind of language model"),
        ({"text_config__max_position_embeddings": 9}, "max_position_embeddings"),
        ({"vision_config__hidden_size": 64}, "another shape"),
    ],
)
def test_what_does_not_fit_is_said(folder, changes, said):
    edit(folder, **changes)
    with pytest.raises(ModelError, match=said):
        FAMILY.folder.load(folder)


@pytest.mark.parametrize(
    "changes", [{"resample": 2}, {"do_center_crop": False}, {"size": {"shortest_edge": 99}}, {"image_mean": [0.5]}]
)
def test_pictures_prepared_otherwise_are_refused(folder, changes):
    edit(folder, "preprocessor_config.json", **changes)
    with pytest.raises(ModelError):
        FAMILY.folder.load(folder)
