"""A model that reads is taught a subject from a few pictures, and keeps what it knows of its kind."""

import numpy as np
import pytest
import torch
from PIL import Image

from makar.core.errors import InputError, RecipeError
from makar.core.random import Rng
from makar.core.tensors import load_tensors
from makar.data.config import Augment, SubjectOptions
from makar.data.subject import SubjectRows, Told
from makar.engine.load import open_model
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.objective import Denoise
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.run import Workspace
from makar.train.metrics import read_metrics
from tests.families.diffusion.reading import reader
from tests.families.diffusion.test_piped import SHAPE, piped, tower

RECIPE = """
init = "{base}"
[data]
sources = ["{pictures}"]
rows = "subject"
[data.subject]
captions = ["a red cat", "the cat is red"]
prior = "a cat"
prior_pictures = 8
[adapter]
rank = 2
[train]
steps = 6
batch_size = 4
checkpoint_steps = 2
compile = "off"
precision = "fp32"
optimizer = {{ learning_rate = 0.02 }}
[watch]
validate_every = 6
validate_rows = 4
sample_every = 6
prompts = ["a red cat", "a cat"]
[sample]
steps = 2
guidance_scale = 2.0
"""


class Killed(BaseException):
    """Stands for a kill: nothing is saved on the way out."""


def killer(step):
    def progress(state):
        if state.step == step:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A model of pixels and one of latents, both of which read."""
    found = {}
    for name, model in {"pixels": reader(tower=tower(), **SHAPE), "latents": piped()}.items():
        found[name] = tmp_path_factory.mktemp("base") / name
        found[name].mkdir()
        FAMILY.folder.save(model, found[name])
    return found


@pytest.fixture
def pictures(tmp_path):
    """Seven pictures of one thing, of different sizes."""
    random, folder = np.random.default_rng(0), tmp_path / "mine"
    folder.mkdir()
    for number in range(7):
        values = random.integers(0, 256, (16 + number, 20, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    (folder / ".DS_Store").write_bytes(b"hidden, and no picture")
    return folder


@pytest.fixture
def taught(tmp_path, bases, pictures, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*sets, name="mine", kind="pixels", **more):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(base=bases[kind], pictures=pictures))
        return train(load_recipe(tmp_path / f"{name}.toml", sets), Workspace(tmp_path), **more)[0].run

    return run


def weights(run):
    return load_tensors(run.model / "adapter_model.safetensors")


def test_the_subject_and_its_kind_take_turns():
    pixels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 2, 2)
    own, kin = Told(pixels, torch.tensor([[1], [2]])), Told(pixels + 100, torch.tensor([[3]]))
    rows = SubjectRows(own, kin, 0.5, seed=0)
    whole = rows.batch(0, 20)
    levels = ((whole["images"][:, 0, 0, 0] + 1) * 127.5).round().int()
    assert (levels[::2] < 5).all()
    assert (levels[1::2] >= 100).all()
    assert sorted(levels[:10:2].tolist()) == [0, 1, 2, 3, 4]
    assert whole["weight"].tolist() == [1.0, 0.5] * 10
    assert set(whole["tokens"][::2].flatten().tolist()) == {1, 2}
    assert set(whole["tokens"][1::2].flatten().tolist()) == {3}
    for name, column in whole.items():
        assert torch.equal(torch.cat([rows.batch(step, 5)[name] for step in range(4)]), column)
    alone = SubjectRows(own, None, 0.5, seed=0).batch(0, 10)
    assert alone["weight"].tolist() == [1.0] * 10
    flipped = SubjectRows(own, kin, 0.5, seed=0, augment=Augment(jitter=0.5)).batch(0, 20)["images"]
    assert torch.equal(flipped[1::2], whole["images"][1::2])
    assert not torch.equal(flipped[::2], whole["images"][::2])


@torch.no_grad()
def test_the_losss_two_parts_are_weighed():
    model, rng = reader(tower=tower(), **SHAPE), Rng(0, 0, torch.arange(4))
    batch = {"images": torch.randn(4, 3, 4, 4), "told": torch.randn(4, 3, 40), "pooled": torch.randn(4, 12)}
    losses = []
    for place in range(4):
        found = Denoise(label_drop=0.0)(model, {**batch, "weight": torch.eye(4)[place]}, "", rng)
        assert found.count == 1
        losses.append(float(found.sum))
    found = Denoise(label_drop=0.0)(model, {**batch, "weight": torch.tensor([1.0, 0.3, 1.0, 0.3])}, "", rng)
    wanted = losses[0] + losses[2] + 0.3 * (losses[1] + losses[3])
    assert float(found.sum) == pytest.approx(wanted, rel=1e-5)
    assert float(found.count) == pytest.approx(2.6)


@pytest.mark.parametrize("kind", ["pixels", "latents"])
def test_an_adapter_learns_the_subject(taught, bases, kind, tmp_path):
    said = []
    run = taught(kind=kind, say=said.append)
    model, base = open_model(run.model), open_model(bases[kind])
    assert model.generation["guidance_scale"] == 2.0
    assert any(tensor.abs().sum() > 0 for name, tensor in weights(run).items() if "lora_B" in name)
    for name, tensor in base.net.state_dict().items():
        assert torch.equal(tensor, model.net.state_dict()[name]), name
    (folder,) = (tmp_path / "data").glob("prior-*")
    assert len(list(folder.glob("*.png"))) == 8
    assert "6 pictures of the subject to learn from, 1 to judge by" in said
    said.clear()
    taught(kind=kind, name="again", say=said.append)
    assert not any("making" in line for line in said)


def test_what_was_made_is_made_alike_and_found_only_by_what_it_depends_on(taught, tmp_path):
    taught("train.steps=1")
    (folder,) = (tmp_path / "data").glob("prior-*")
    pixels = [np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))]
    (folder / "00003.png").write_bytes(b"no picture")  # damaged: made anew, and alike
    one = taught("train.steps=1", name="second")
    assert all(
        (np.asarray(Image.open(f)) == p).all() for f, p in zip(sorted(folder.glob("*.png")), pixels, strict=True)
    )
    assert read_metrics(one.metrics)[0]["loss_hex"]
    taught("train.steps=1", "adapter.rank=1", name="other")  # who learns has no part in it
    assert len(list((tmp_path / "data").glob("prior-*"))) == 1
    taught("train.steps=1", "data.subject.prior='a dog'", name="third")
    assert len(list((tmp_path / "data").glob("prior-*"))) == 2


def test_killed_and_started_again_equals_undisturbed(taught):
    whole = taught(name="whole")
    for step in (1, 3, 5):
        with pytest.raises(Killed):
            taught(name="killed", progress=killer(step))
    again = taught(name="killed")
    assert [line["loss_hex"] for line in read_metrics(whole.metrics)] == [
        line["loss_hex"] for line in read_metrics(again.metrics)
    ]
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(whole).items())


def test_all_of_the_model_may_learn_too(taught, bases, tmp_path):
    text = RECIPE.replace("[adapter]\nrank = 2\n", "").replace('a cat"\nprior_', '"\nprior_')
    (tmp_path / "full.toml").write_text(text.format(base=bases["pixels"], pictures=tmp_path / "mine"))
    (result,) = train(load_recipe(tmp_path / "full.toml"), Workspace(tmp_path))
    assert (result.run.model / "text_encoder").is_dir()
    assert not (tmp_path / "data").exists()  # without a prior nothing is made


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_pictures_are_refused(taught, pictures, count):
    for file in sorted(pictures.glob("*.png"))[count:]:
        file.unlink()
    with pytest.raises(RecipeError, match=r"too few pictures of the subject \(got [13]\).*three to learn from"):
        taught()


def test_what_is_no_picture_is_named_and_can_be_left_out(taught, pictures):
    (pictures / "notes.txt").write_text("my cat")
    with pytest.raises(InputError, match=r"notes\.txt"):
        taught("train.steps=1")
    taught("train.steps=1", "data.subject.only=['[0-9].png']")
    with pytest.raises(RecipeError, match=r"too few.*\(got 2\)"):
        taught("train.steps=1", "data.subject.only=['[01].png']", name="two")


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["data.rows=captioned"], "both or neither"),
        (["data.subject.captions=[]"], "captions"),
        (["data.subject.prior_pictures=2"], "greater than or equal to 8"),
        (["data.subject.prior_weight=0"], "greater than 0"),
        (["data.subject.captoins=['x']"], "did you mean 'captions'"),
    ],
)
def test_settings_that_do_not_fit_are_said(taught, sets, words):
    with pytest.raises(RecipeError, match=words):
        taught(*sets)


def test_captions_that_cannot_be_read_and_models_that_read_none(taught, bases, tmp_path):
    with pytest.raises(InputError, match="too long"):
        taught("data.subject.captions=['a cat and a cat and a cat and a cat and a cat and a cat']")
    plain = tmp_path / "plain"
    plain.mkdir()
    from tests.families.diffusion.conftest import make

    FAMILY.folder.save(make(classes=0), plain)
    with pytest.raises(RecipeError, match="this model is told none"):
        taught(f"init='{plain}'", "watch.prompts=['']", "sample.guidance_scale=1.0")


def test_options_have_the_papers_defaults():
    assert SubjectOptions(captions=("a zwx cat",)).prior_weight == 1.0
