"""What lies on disk: written, read back, and refused where it is damaged."""

import dataclasses
import json

import pytest
import torch

from makar.core.errors import MakarError
from makar.core.tensors import save_tensors
from makar.engine.load import open_model
from makar.families.vae.family import FAMILY
from makar.families.vae.found import DIRECTIONS
from tests.families.vae.conftest import NETS, make


def saved(model, folder):
    folder.mkdir()
    FAMILY.folder.save(model, folder)
    return folder


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "logistic"])
def test_a_model_comes_back_with_all_that_belongs_to_it(net, likelihood, tmp_path, images):
    model = make(net, likelihood, components=0 if net == "ladder" else 4)
    ways = {"T-shirt/top": torch.randn(model.net.code_size), "Bag": torch.randn(model.net.code_size)}
    model = dataclasses.replace(model, parts={DIRECTIONS: ways}, generation={"temperature": 0.7})
    again = open_model(saved(model, tmp_path / "model"))
    assert again.family is FAMILY
    assert again.config == model.config
    assert again.generation == {"temperature": 0.7}
    assert all(torch.equal(again.parts[DIRECTIONS][name], way) for name, way in ways.items())
    assert torch.equal(again.net.code_of(images), model.net.code_of(images))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json", "directions.safetensors", "model.safetensors",
    ]  # fmt: skip


def rewrite(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "tensor file is missing"),
        (lambda folder: rewrite(folder, likelihood="poisson"), "it is one of"),
        (lambda folder: rewrite(folder, likelihood="bernoulli"), "another shape than the config asks for"),
        (lambda folder: rewrite(folder, generation=[1]), "not a table of settings"),
        (lambda folder: rewrite(folder, hidden=3), "hidden"),
        (lambda folder: rewrite(folder, components=2), "missing"),
        (lambda folder: save_tensors(folder / "directions.safetensors", {"Bag": torch.zeros(9)}), "another shape"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(damage, said, tmp_path):
    folder = saved(make(), tmp_path / "model")
    damage(folder)
    with pytest.raises(MakarError, match=said) as caught:
        open_model(folder)
    assert "\n" not in str(caught.value)
