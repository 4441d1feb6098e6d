"""The suite "modes": kinds of stacked pictures, told apart by the dataset's classifier."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from makar.core.errors import InputError
from makar.core.nouns import Model
from makar.data.collect import collect
from makar.data.config import CollectOptions, PictureOptions
from makar.data.dataset import Dataset
from makar.evaluate import modes as suite
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.picture_report import applicable
from makar.evaluate.run import evaluate
from makar.families.gan.config import GanConfig
from makar.families.gan.family import FAMILY
from makar.nets.gan_config import R3ganConfig


@pytest.fixture
def dataset(tmp_path):
    """Dark and bright pictures."""
    random = np.random.default_rng(0)
    for label, (low, high) in {"bright": (160, 256), "dark": (0, 96)}.items():
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(30):
            values = random.integers(low, high, (8, 8), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / "pictures" / label / f"{number}.png")
    options = CollectOptions(test_fraction=0.3, valid_fraction=0.2, pictures=PictureOptions(near=0))
    collect([str(tmp_path / "pictures")], tmp_path / "set", options)
    return Dataset.open(tmp_path / "set")


@pytest.fixture(autouse=True)
def classifier(monkeypatch):
    """Tells bright from dark by the mean, and is not trained."""

    def net(images):
        bright = images.mean((1, 2, 3)) > 0
        return torch.stack((bright.float(), 1 - bright.float()), 1)

    monkeypatch.setattr(suite, "classifier_of", lambda *given: SimpleNamespace(net=net))


def model(channels):
    net = R3ganConfig(
        sample_size=8, in_channels=channels, block_out_channels=(8,), layers_per_block=1, group_width=8, latent_size=4
    )
    torch.manual_seed(0)
    made = Model(FAMILY, GanConfig(net=net), FAMILY.build(GanConfig(net=net)))
    with torch.no_grad():  # every colour is one shade, of a latent's own number
        made.net.generator.basis.fill_(1.0)
        made.net.generator.modulate.weight.copy_(torch.eye(8, 4))
        made.net.generator.to_image.weight.copy_(torch.eye(channels, 8)[:, :, None, None])
    return made


def test_kinds_are_counted_beside_real_stacks(dataset):
    report = evaluate(model(3), dataset, EvaluateOptions(suites=("modes",), samples=64))
    assert report.value("modes", "modes") == 8  # three colours, bright or dark
    assert report.value("modes", "kinds") == 8
    assert report.value("modes", "modes", of="real") == 8
    assert 0 <= report.value("modes", "divergence") < 0.5


def test_what_is_not_stacked_has_no_kinds(dataset):
    with pytest.raises(InputError, match="stacked"):
        evaluate(model(1), dataset, EvaluateOptions(suites=("modes",), samples=4))


def test_it_is_measured_only_where_it_is_named(dataset):
    assert "modes" not in applicable(model(3), dataset, EvaluateOptions())
