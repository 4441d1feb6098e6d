"""Pictures and texts that find each other: known vectors, datasets, scenes, and what cannot be measured."""

import json
from functools import cache

import pytest
import torch
from PIL import Image

from makar.codecs.captions import train_captions
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Model
from makar.data.collect import collect
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.data.fetch import fetch
from makar.data.scene_drawing import sprites_of
from makar.data.scene_things import ATTRIBUTES
from makar.evaluate import clip as clip_report
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.retrieval import NAMES, Told, among_others, chosen, prompts_of, retrieval_figures
from makar.evaluate.run import evaluate
from makar.families.clip.config import ClipConfig
from makar.families.clip.family import FAMILY as CLIP
from makar.families.diffusion.family import FAMILY as DIFFUSION
from makar.nets.clip_config import ClipTextConfig, ClipVisionConfig
from tests.emoji import draw_set

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "white": (240, 240, 250)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Forty plain pictures with captions, in folders by their colour."""
    folder = tmp_path_factory.mktemp("colours")
    for number in range(40):
        name, (red, green, blue) = list(COLOURS.items())[number % 4]
        place = folder / "pictures" / name
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (red + number // 4, green, blue)).save(place / f"{number}.png")
        (place / f"{number}.txt").write_text(f"a {name} picture, the {number}th")
    collect([str(folder / "pictures")], folder / "data", CollectOptions(test_fraction=0.4, pictures={"near": 0}))
    return Dataset.open(folder / "data")


@cache
def model(size=16):
    """An untrained model that sees pictures of a size."""
    codec = train_captions(["a red cat", "a picture of the sea"] * 4, 560, 64)
    vision = ClipVisionConfig(hidden_size=48, num_hidden_layers=1, num_attention_heads=4, image_size=size, patch_size=8)
    text = ClipTextConfig(
        hidden_size=32, num_hidden_layers=1, vocab_size=codec.vocab_size, max_position_embeddings=codec.length
    )
    config = ClipConfig(vision=vision, text=text)
    torch.manual_seed(0)
    return Model(CLIP, config, CLIP.build(config).eval(), {"codec": codec})


def test_what_lies_at_its_text_is_found():
    found = retrieval_figures(Told(torch.eye(12), torch.eye(12), [str(k) for k in range(12)]))
    assert found["text_at_1"].values["model"] == found["picture_at_1"].values["model"] == 1
    assert found["text_at_1"].values["chance"] == pytest.approx(1 / 12)
    assert float(found["text_at_1"].values["p"]) < 1e-9
    assert found["clip_score"].values["model"] == 2.5
    turned = retrieval_figures(Told(torch.eye(12), torch.eye(12).roll(1, 0), [str(k) for k in range(12)]))
    assert turned["text_at_1"].values["model"] == 0
    assert float(turned["text_at_1"].values["p"]) == 1


def test_equal_captions_are_each_others():
    texts = torch.eye(4)[[1, 0, 2, 3]]
    alike = Told(torch.eye(4), texts, ["a", "a", "b", "c"])
    assert retrieval_figures(alike)["text_at_1"].values["model"] == 1


def test_among_few_names_it_is_easier():
    torch.manual_seed(0)
    pictures = torch.nn.functional.normalize(torch.randn(300, 8), dim=1)
    names, right = torch.nn.functional.normalize(torch.randn(40, 8), dim=1), torch.arange(300) % 40
    shares = [sum(chosen(pictures, names, right, ways, 0)) / 300 for ways in (2, 10, 40)]
    assert shares[0] == pytest.approx(1 / 2, abs=0.1)
    assert shares[1] == pytest.approx(1 / 10, abs=0.06)
    assert shares[2] == pytest.approx(1 / 40, abs=0.04)
    assert chosen(names, names, torch.arange(40), 20, 0) == [1.0] * 40


def test_a_caption_among_others():
    told = Told(torch.eye(30), torch.eye(30), [str(k) for k in range(30)])
    assert among_others(told, 20) == [1.0] * 30
    assert sum(among_others(Told(torch.eye(30), torch.eye(30).flip(0), told.captions), 20)) == 0


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_prompts_tell_the_values_of_an_attribute_apart(attribute):
    names = NAMES[attribute]
    prompts = [set(prompts_of(attribute, name)) for name in names]
    for place, each in enumerate(prompts):
        assert each
        assert all(not each & other for other in prompts[place + 1 :])


def test_a_dataset_is_measured_by_captions_and_classes(dataset):
    report = evaluate(model(), dataset, EvaluateOptions())
    assert set(report.sections) == {"retrieval", "zeroshot"}
    assert report.value("zeroshot", "right", "chance") == 0.25
    count = dataset.manifest.kept["test"].documents
    assert report.value("retrieval", "text_at_1", "count") == count
    assert report.value("retrieval", "text_at_1", "chance") == pytest.approx(1 / count)
    assert evaluate(model(), dataset, EvaluateOptions()).json() == report.json()
    few = evaluate(model(), dataset, EvaluateOptions(suites=("retrieval",), documents=5))
    assert few.value("retrieval", "text_at_1", "count") == 5
    assert "picture at 1" in report.markdown()


def test_pictures_smaller_than_the_model_sees_are_measured(dataset):
    report = evaluate(model(32), dataset, EvaluateOptions())
    assert list(report.sections) == ["retrieval", "zeroshot"]
    shards = clip_report.pixels_of(model(32), dataset, "test", captioned=True, say=print)
    assert shards.shape == (3, 16, 16)
    assert report.value("retrieval", "picture_at_1", "count") == shards.rows


def test_what_no_text_of_the_training_named_is_measured_apart(dataset):
    """Beside the dataset of the training all is looked among, and of it only what is not its training split."""
    options = EvaluateOptions(suites=("retrieval",), training=dataset.path)
    report, kept = evaluate(model(), dataset, options), dataset.manifest.kept
    counts = {split: kept[split].documents for split in ("train", "valid", "test")}
    assert report.value("retrieval", "text_at_1", "count") == sum(counts.values())
    assert report.value("retrieval_new", "text_at_1", "count") == counts["valid"] + counts["test"]


def test_scenes_are_found_and_named(tmp_path, monkeypatch):
    sprites = sprites_of(fetch(str(draw_set(tmp_path / "emoji"))))
    monkeypatch.setattr(clip_report, "fetch", lambda name: name)
    monkeypatch.setattr(clip_report, "sprites_of", lambda fetched: sprites)
    report = evaluate(model(32), None, EvaluateOptions(suites=("scenes",), documents=24))
    assert set(report.sections) == {"zeroshot", "retrieval"}
    assert {"scene", *ATTRIBUTES} == set(report.sections["zeroshot"].figures)
    for whose in ("seen", "unseen triples", "unseen pairs"):
        assert 0 <= report.value("zeroshot", "scene", whose) <= 1
        assert 0 <= report.value("retrieval", "as_said_picture_at_10", whose) <= 1
    assert report.value("zeroshot", "scene", "chance") == pytest.approx(0.05)


def test_what_cannot_be_measured_is_said(dataset):
    with pytest.raises(InputError, match="measures no CLIP"):
        evaluate(model(), dataset, EvaluateOptions(suites=("fidelity",)))
    with pytest.raises(InputError, match="no dataset"):
        evaluate(model(), None, EvaluateOptions())
    with pytest.raises(InputError, match="too few scenes"):
        evaluate(model(32), None, EvaluateOptions(suites=("scenes",), documents=19))
    config, _ = DIFFUSION.tiny()
    painter = Model(DIFFUSION, config, DIFFUSION.build(config))
    with pytest.raises(ModelError, match="does not find texts"):
        evaluate(painter, dataset, EvaluateOptions(suites=("retrieval",)))
    plain = Model(model().family, model().config, model().net)
    with pytest.raises(ModelError, match="no tokenizer of captions"):
        evaluate(plain, dataset, EvaluateOptions())


def test_pictures_without_words_have_nothing_to_find(tmp_path):
    (tmp_path / "pictures").mkdir()
    for number in range(12):
        Image.new("RGB", (16, 16), (20 * number, 30, 30)).save(tmp_path / "pictures" / f"{number}.png")
    (tmp_path / "metadata.json").write_text(json.dumps({}))
    collect([str(tmp_path / "pictures")], tmp_path / "data", CollectOptions(test_fraction=0.4, pictures={"near": 0}))
    silent = Dataset.open(tmp_path / "data")
    with pytest.raises(InputError, match="neither captions nor classes"):
        evaluate(model(), silent, EvaluateOptions())
    with pytest.raises(InputError, match="nothing for the suite 'zeroshot'"):
        evaluate(model(), silent, EvaluateOptions(suites=("zeroshot",)))
