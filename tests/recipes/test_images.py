"""A folder of pictures becomes a model that makes them, by a recipe alone."""

from dataclasses import replace

import pytest
from PIL import Image

from makar.app.again import again
from makar.core.errors import InputError, RecipeError
from makar.core.nouns import Request
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.recipes.assemble import assemble
from makar.recipes.execute import train
from makar.recipes.images import grid_of
from makar.recipes.load import load_recipe
from makar.recipes.plan import plan
from makar.recipes.run import Workspace

RECIPE = """
[data]
sources = ["{folder}"]
rows = "image"
augment = {{ flip = true }}
collect = {{ valid_fraction = 0.2, pictures = {{ near = 0 }} }}

[model]
family = "diffusion"

[model.net]
kind = "unet"
sample_size = 8
in_channels = 1
num_classes = 2
block_out_channels = [8]
down_block_types = ["DownBlock2D"]
layers_per_block = 1
add_attention = false

[train]
steps = 4
batch_size = 4

[watch]
sample_every = 2

[sample]
steps = 2
"""


VAE = """
[model]
family = "vae"
net = { kind = "mlp", sample_size = 8, in_channels = 1, hidden_sizes = [16], latent_size = 4 }

"""


def size_of(place):
    """Width and height of a picture's file."""
    with Image.open(place) as picture:
        return picture.size


@pytest.fixture
def file(tmp_path, shades):
    """A recipe that learns them."""
    place = tmp_path / "noise.toml"
    place.write_text(RECIPE.format(folder=shades))
    return place


def test_a_folder_of_pictures_becomes_a_model(file, tmp_path):
    workspace = Workspace(tmp_path)
    (result,) = train(load_recipe(file), workspace)
    run = result.run
    assert run.finished
    assert result.plan.units == ("images", 16)
    assert result.plan.step_seconds > 0
    samples = sorted(path.name for path in run.samples.glob("*.png"))
    assert samples == ["step-00000002.png", "step-00000004.png", "way-00000002.png", "way-00000004.png"]
    assert [size_of(run.samples / name) for name in samples[1:3]] == [(32, 32), (16, 32)]  # ways of 4, of 2 steps
    model = open_model(run.folder)
    assert model.config.classes == ("bright", "dark")
    assert model.generation == {"steps": 2}
    assert Engine(model).generate([Request("dark")])[0].data.size == (8, 8)
    assert run.manifest["pictures"]["train"] + run.manifest["pictures"]["valid"] <= 40
    assert "validation" in run.manifest["outcome"]


def test_a_lesser_model_guides_while_training_and_ever_after(file, tmp_path):
    """From `parts` of a recipe to the folder, and from there to the pictures."""
    workspace = Workspace(tmp_path)
    train(load_recipe(file, ["train.steps=1"], tmp_path / "runs/lesser"), workspace)
    text = file.read_text().replace("[sample]\n", "[sample]\nguidance_scale = 3.0\n")
    file.write_text('parts = { guide = "@lesser" }\n' + text)
    (result,) = train(load_recipe(file), workspace)
    model = open_model(result.run.folder)
    led = replace(model, parts={"guide": open_model(tmp_path / "runs/lesser")})
    pictures = [Engine(each).generate([Request("dark")])[0].data for each in (model, led, replace(model, parts={}))]
    assert pictures[0] == pictures[1] != pictures[2]


def test_looks_are_made_again_from_their_files(file, tmp_path):
    """The grid of the last step and the ways beside it, by the finished model."""
    (result,) = train(load_recipe(file), Workspace(tmp_path))
    for name in ("step", "way"):
        place = result.run.samples / f"{name}-00000004.png"
        found = again(place, None, tmp_path / f"{name}.png", print)
        assert (found.different, size_of(found.file)) == (0, size_of(place))
        assert again(found.file, None, tmp_path / "twice.png", print).different == 0


def test_a_vae_shows_what_it_draws_and_what_it_gives_back(file, tmp_path):
    text = file.read_text()
    start, end = text.index("[model]"), text.index("[train]")
    file.write_text(text[:start] + VAE + text[end:].replace("[sample]\nsteps = 2\n", ""))
    (result,) = train(load_recipe(file), Workspace(tmp_path))
    samples = sorted(path.name for path in result.run.samples.glob("*.png"))
    assert samples == ["back-00000002.png", "back-00000004.png", "step-00000002.png", "step-00000004.png"]
    assert [size_of(result.run.samples / name) for name in samples[1:3]] == [(32, 32), (32, 32)]
    assert again(result.run.samples / samples[-1], None, tmp_path / "again.png", print).different == 0
    with pytest.raises(InputError, match="does not say its seed"):
        again(result.run.samples / samples[1], None, tmp_path / "again.png", print)


def test_what_is_decoded_is_kept(file, tmp_path):
    said = []
    for _ in range(2):
        recipe = load_recipe(file).stages["noise"]
        job = assemble(recipe, Workspace(tmp_path).run("noise"), Workspace(tmp_path), say=said.append)
    assert sum("decoding the train split" in line for line in said) == 1
    batch = job.source.batch(0, 3)
    assert (batch["images"].shape, batch["label"].shape) == ((3, 1, 8, 8), (3,))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("num_classes = 2", "num_classes = 5", "set model.net.num_classes=2"),
        ("in_channels = 1", "in_channels = 2", "model.net.in_channels"),
        ('rows = "image"', 'rows = "text"', "set data.rows='image'"),
    ],
)
def test_what_does_not_fit_the_pictures_is_refused(file, tmp_path, before, after, said):
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(RecipeError, match=said):
        assemble(load_recipe(file).stages["noise"], Workspace(tmp_path).run("noise"), Workspace(tmp_path))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("sample_every = 2", 'prompts = ["drak"]', "did you mean 'dark'"),
        ("[sample]", "[sample]\nguidance_scale = 2.0", "cannot be guided"),
    ],
)
def test_a_sample_that_cannot_be_made_is_refused_before_training(file, tmp_path, before, after, said):
    plain = file.read_text().replace("num_classes = 2", "num_classes = 2\nnull_class = false")
    file.write_text(plain.replace(before, after))
    with pytest.raises(InputError, match=said):
        assemble(load_recipe(file).stages["noise"], Workspace(tmp_path).run("noise"), Workspace(tmp_path))


def test_a_language_model_learns_no_pictures(file, tmp_path):
    text = file.read_text()
    start, end = text.index("[model]"), text.index("[train]")
    plain = '[model]\nfamily = "language"\nhidden_size = 8\nnum_hidden_layers = 1\n\n'
    file.write_text(text[:start] + plain + text[end:].replace("[sample]\nsteps = 2\n", ""))
    with pytest.raises(RecipeError, match="set data.rows='text'"):
        plan(load_recipe(file), "noise", Workspace(tmp_path))


def test_a_grid_holds_every_picture():
    grid = grid_of([Image.new("L", (2, 3), value) for value in (10, 20, 30)])
    assert grid.size == (4, 6)
    assert [grid.getpixel(place) for place in ((0, 0), (2, 0), (0, 3), (2, 3))] == [10, 20, 30, 0]
