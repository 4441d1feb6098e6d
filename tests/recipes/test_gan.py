"""From a folder of pictures to a GAN's samples, by a recipe alone; and what a recipe gets wrong."""

import pytest
from PIL import Image

from makar.core.errors import InputError, RecipeError
from makar.core.nouns import Request
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.plan import plan
from makar.recipes.run import Workspace
from makar.train.metrics import read_metrics

RECIPE = """
[data]
sources = ["{folder}"]
rows = "image"
collect = {{ valid_fraction = 0.2, pictures = {{ near = 0 }} }}

[model]
family = "gan"

[model.net]
kind = "r3gan"
sample_size = 8
in_channels = 1
num_classes = 2
block_out_channels = [8, 8]
layers_per_block = 1
group_width = 8
latent_size = 6

[train]
steps = 4
batch_size = 4
ema_halflife = 2

[watch]
sample_every = 4
validate_every = 4
"""


@pytest.fixture
def file(tmp_path, shades):
    """A recipe that learns them."""
    place = tmp_path / "noise.toml"
    place.write_text(RECIPE.format(folder=shades))
    return place


def test_a_folder_of_pictures_becomes_a_gan(file, tmp_path):
    workspace = Workspace(tmp_path)
    (result,) = train(load_recipe(str(file)), workspace)
    model = open_model(result.run.model)
    assert model.family.name == "gan"
    assert model.config.classes == ("bright", "dark")
    assert Engine(model).generate([Request("dark", seed=1)])[0].data.size == (8, 8)
    names = {line["watch"] for line in read_metrics(result.run.metrics, "watch")}
    assert {"collapse", "samples", "walk"} <= names
    assert (result.run.samples / "step-00000004.png").exists()
    assert (result.run.samples / "walk-00000004.gif").exists()
    assert train(load_recipe(str(file)), workspace)[0].outcome is None  # finished: said, not trained again


def test_stacked_pictures_are_three_gray_ones_without_labels(file, tmp_path):
    sets = ["data.stack=true", "model.net.in_channels=3", "model.net.num_classes=0"]
    (result,) = train(load_recipe(str(file), sets), Workspace(tmp_path))
    assert Engine(open_model(result.run.model)).generate([Request()])[0].data.mode == "RGB"


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["data.stack=true"], "a channel for each"),
        (["data.stack=true", "model.net.in_channels=3", "data.augment.flip=true"], "do not vary"),
        (["model.net.num_classes=3"], "another number of classes"),
        (["objective.options.gama=1"], "no option 'gama'"),
        (["objective.options.augment=adapt"], "unknown augmentation"),
        (["sample.steps=0"], "steps"),
        (["sample.guidance_scale=2"], "unknown field"),
        (["data.rows=text"], "learns other rows"),
    ],
)
def test_what_a_recipe_gets_wrong_is_said_before_training(file, tmp_path, sets, said):
    with pytest.raises((RecipeError, InputError), match=said):
        train(load_recipe(str(file), sets), Workspace(tmp_path))


def test_a_class_with_one_picture_and_a_picture_too_small_do_no_harm(file, tmp_path):
    (tmp_path / "pictures" / "rare").mkdir()
    Image.new("L", (8, 8), 128).save(tmp_path / "pictures" / "rare" / "one.png")
    Image.new("L", (4, 4), 30).save(tmp_path / "pictures" / "dark" / "small.png")
    (result,) = train(load_recipe(str(file), ["model.net.num_classes=3"]), Workspace(tmp_path))
    assert Engine(open_model(result.run.model)).generate([Request("rare")])[0].reason == "stop"


@pytest.mark.parametrize(
    "name", ["fashion-gan-quick", "fashion-gan", "fashion-gan-long", "stacked-mnist", "faces-quick", "faces"]
)
def test_shipped_recipes_fit_together(name):
    from makar.families.table import family

    (recipe,) = load_recipe(name).stages.values()
    made = family("gan")
    assert made.cost(recipe.model, 1).parameters > 100_000
    made.objectives["relativistic"](**recipe.objective.options)
    assert recipe.train.optimizer.weight_decay == 0
    assert recipe.train.ema_halflife


def test_a_plan_counts_both_players(file, tmp_path):
    expected = plan(load_recipe(str(file)), "noise", Workspace(tmp_path))
    assert expected.parameters > 0
    assert expected.step_seconds is not None
