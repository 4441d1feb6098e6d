"""How well pictures fit the captions that they were made of: real ones, the wrong ones, and who may judge."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from makar.app.api.datasets import clip_of
from makar.core.errors import InputError, ModelError
from makar.data.collect import collect
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.evaluate import classifier
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.fit import other_captions
from makar.evaluate.pictures import PictureMaterial
from makar.evaluate.run import evaluate
from makar.nets.clip_config import ClipVisionConfig
from tests.evaluate.test_pictures import Shows, painter
from tests.families.clip.support import saved, tiny
from tests.families.diffusion.reading import reader

TEXTS = ("a red cat", "a blue dog (view: west)", "cat " * 30, "☃", "sunglasses")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Noise with captions: some too long, some unknown, some with brackets."""
    root, rows = tmp_path_factory.mktemp("captioned"), list[str]()
    (root / "in").mkdir()
    for seed in range(60):
        pixels = np.random.default_rng(seed).integers(0, 255, (8, 8))
        Image.fromarray(pixels.astype(np.uint8)).save(root / "in" / f"{seed}.png")
        rows.append(json.dumps({"file_name": f"{seed}.png", "text": TEXTS[seed % 5]}) + "\n")
    (root / "in" / "metadata.jsonl").write_text("".join(rows))
    options = CollectOptions.model_validate({"test_fraction": 0.5, "valid_fraction": 0.05, "pictures": {"near": 0}})
    collect([str(root / "in")], root / "out", options)
    return Dataset.open(root / "out")


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    vision = ClipVisionConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=16, num_channels=1
    )  # fmt: skip
    return saved(tiny(vision=vision), tmp_path_factory.mktemp("judge") / "clip")


def test_a_model_that_shows_the_real_pictures_fits_as_they_do(dataset, judge):
    said = []
    rows = PictureMaterial(reader(), dataset, EvaluateOptions(samples=20), said.append).captions
    options = EvaluateOptions(samples=20, reference=judge)
    shards = PictureMaterial(reader(), dataset, options, said.append)
    shows = Shows(shards.held_rows([row for row, _ in rows]).pixels)
    report = evaluate(replace(reader(), family=replace(reader().family, sampler=shows)), dataset, options)
    assert "fit" in report.sections
    assert "fidelity" in report.sections
    assert report.value("fit", "clip_score") == pytest.approx(report.value("fit", "clip_score", "real"))
    assert report.value("fit", "clip_score") != report.value("fit", "clip_score", "shuffled")
    assert report.value("fit", "clip_score", "count") == 20
    assert any("blank or unknown to the model: left out" in line for line in said)


def test_samples_are_made_of_held_out_captions(dataset):
    """The sampler is asked for every caption as it is; what is too long for the tower loses its end."""
    asked = []

    class Listens(Shows):
        def start(self, model, requests):
            asked.extend(request.prompt for request in requests)
            return super().start(model, requests)

    model = reader()
    model = replace(model, family=replace(model.family, sampler=Listens(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))))
    evaluate(model, dataset, EvaluateOptions(samples=40, suites=("copies",)))
    assert set(asked) == {"a red cat", r"a blue dog \(view: west\)", " ".join(["cat"] * 6), "sunglasses"}
    assert len(asked) == 40


def test_captions_are_shuffled_to_others():
    assert other_captions(["a", "a", "b"]) == [2, 2, 0]
    assert other_captions(["a", "a"]) == [0, 1]


def test_who_cannot_judge_or_be_told_is_refused(dataset, judge, tmp_path):
    with pytest.raises(InputError, match="--reference CLIP"):
        evaluate(reader(), dataset, EvaluateOptions(suites=("fit",)))
    with pytest.raises(InputError, match="cannot be told captions"):
        evaluate(painter(0), dataset, EvaluateOptions(suites=("fit",), reference=judge))
    (tmp_path / "other").mkdir()
    painter(0).family.folder.save(painter(0), tmp_path / "other")
    with pytest.raises(ModelError, match="name a CLIP"):
        evaluate(reader(), dataset, EvaluateOptions(samples=4, suites=("fit",), reference=tmp_path / "other"))


def test_a_run_knows_the_clip_that_told_it(judge, tmp_path):
    parents = {"@vae": {"folder": str(tmp_path)}, "@clip": {"folder": str(judge)}}
    assert clip_of(tmp_path) is None
    (tmp_path / "manifest.json").write_text(json.dumps({"parent": parents}))
    assert clip_of(tmp_path) == judge
