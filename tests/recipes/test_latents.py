"""A codec and a model of its latents, by a recipe of two stages; what does not fit is refused before it trains."""

import pytest

from makar.core.errors import RecipeError
from makar.core.nouns import Request
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.recipes.assemble import assemble
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.run import Workspace

RECIPE = """
[stages.codec]
data = {{ sources = ["{folder}"], rows = "image", collect = {{ valid_fraction = 0.2, pictures = {{ near = 0 }} }} }}
train = {{ steps = 3, batch_size = 4 }}

[stages.codec.model]
family = "autoencoder"
net = {{ sample_size = 8, in_channels = 1, block_out_channels = [8, 8] }}

[stages.latent]
data = {{ sources = ["{folder}"], rows = "image", augment = {{ flip = true }}, collect = {{ valid_fraction = 0.2, pictures = {{ near = 0 }} }} }}
parts = {{ codec = "@codec" }}
train = {{ steps = 3, batch_size = 4 }}
sample = {{ steps = 2 }}

[stages.latent.model]
family = "diffusion"
path = {{ name = "ddpm" }}
net = {{ kind = "dit", sample_size = 4, in_channels = 4, num_classes = 2, num_layers = 1, num_attention_heads = 2, attention_head_dim = 8 }}
"""  # noqa: E501


@pytest.fixture
def file(tmp_path, monkeypatch, shades):
    """A recipe that learns them."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "noise.toml"
    place.write_text(RECIPE.format(folder=shades))
    return place


def test_a_codec_and_a_model_of_its_latents(file, tmp_path):
    """Pictures are encoded once; the model's folder is a pipeline with its codec, and makes whole pictures."""
    workspace = Workspace(tmp_path)
    done = train(load_recipe(file), workspace)
    folder = done[-1].run.model
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["scheduler", "transformer", "vae"]
    model = open_model(folder)
    assert model.config.classes == ("bright", "dark")
    assert Engine(model).generate([Request("dark")])[0].data.size == (8, 8)
    codec = open_model(done[0].run.model)
    assert codec.config.scaling_factor != 1
    assert model.parts["codec"].model.config.scaling_factor == codec.config.scaling_factor
    kept = sorted(path.name.rsplit("-", 1)[0] for path in tmp_path.glob("data/*/latents-*"))
    assert kept == ["latents-train", "latents-valid"]
    recipe = load_recipe(file).stages["noise/latent"]
    said: list[str] = []
    job = assemble(recipe, workspace.run("again"), workspace, say=said.append)
    assert not any("encoding" in line for line in said)
    assert job.identity["latents"] == done[-1].run.manifest["pictures"]["train_hash"]
    assert [path.name for path in done[0].run.samples.iterdir()] == ["back-00000003.png"]


def test_a_vae_and_a_model_of_its_codes(file, tmp_path):
    text = file.read_text()
    start, end = text.index('family = "autoencoder"'), text.index("[stages.latent]")
    vae = 'family = "vae"\nnet = { kind = "mlp", sample_size = 8, hidden_sizes = [16], latent_size = 4 }\n\n'
    latent = text[end:].replace("sample_size = 4,", "sample_size = 1, patch_size = 1,")
    file.write_text(text[:start] + vae + latent)
    done = train(load_recipe(file), Workspace(tmp_path))
    model = open_model(done[-1].run.model)
    assert Engine(model).generate([Request("dark")])[0].data.size == (8, 8)
    codec = open_model(done[0].run.model)
    assert model.parts["codec"].hash() == codec.family.codec(codec).hash()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("in_channels = 4", "in_channels = 3", "set model.net.in_channels=4"),
        ("augment = { flip = true }", "augment = { jitter = 0.1 }", "vary by flip alone"),
    ],
)
def test_what_does_not_fit_the_codec_is_refused(file, tmp_path, old, new, said):
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(RecipeError, match=said):
        train(load_recipe(file), Workspace(tmp_path))
