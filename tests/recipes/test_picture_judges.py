"""Who judges pictures and who watches; and that by a recipe the reward of what is made rises."""

import pytest
import torch

from makar.core.config import parse
from makar.engine.load import open_model
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.picture_judges import Stage, of_dataset
from makar.recipes.run import Workspace
from makar.train.metrics import read_metrics
from tests.align.painters import of, painter

RECIPE = """
init = "{init}"

[data]
sources = ["{folder}"]
rows = "image"
collect = {{ valid_fraction = 0.2, pictures = {{ near = 0 }} }}

[objective]
name = "dpo"

[reward]
brightness = 1.0

[rollouts]
group = 4
max_distance_rise = 1e9

[train]
steps = 10
batch_size = 8
precision = "fp32"
compile = "off"
optimizer = {{ learning_rate = 0.01, weight_decay = 0.0 }}
schedule = {{ name = "constant", warmup = 0.0 }}

[watch]
validate_every = 5
validate_rows = 16
"""

pytestmark = pytest.mark.usefixtures("hasty_judges")


@pytest.fixture
def recipe(tmp_path, shades):
    """Load the recipe for a model, changed at will."""

    def load(model, *sets):
        folder = tmp_path / "model"
        folder.mkdir()
        model.family.folder.save(model, folder)
        (tmp_path / "better.toml").write_text(RECIPE.format(folder=shades, init=folder))
        return load_recipe(tmp_path / "better.toml", sets)

    return load


WAYS = {
    "dpo of a diffusion model": (
        lambda: painter(steps=2), ["objective.options.beta=0.1", "train.optimizer.learning_rate=0.002"],
    ),
    "dpo of a vae": (lambda: of("vae"), ["objective.options.beta=0.1"]),
    "direct, of a gan": (lambda: of("gan"), ["objective={name='direct', options={pull=0.1}}"]),
    "direct, of few steps": (
        lambda: painter(sampler="lcm", steps=2), ["objective={name='direct', options={pull=0.1, last_steps=2}}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_reward_of_what_is_made_rises(recipe, tmp_path, way):
    make, sets = WAYS[way]
    (result,) = train(recipe(make(), *sets), Workspace(tmp_path))
    held = [line for line in read_metrics(result.run.metrics, "watch") if line["watch"] == "held_out"]
    assert held[-1]["reward"] > held[-1]["reward_before"] + 0.005
    assert result.run.finished


@pytest.mark.parametrize(("reward", "second"), [("{class=1.0}", True), ("{brightness=1.0}", False)])
def test_a_second_classifier_watches_where_the_first_one_rewards(recipe, tmp_path, reward, second):
    model, workspace, said = painter(), Workspace(tmp_path), list[str]()
    (found,) = recipe(model, f"reward={reward}").stages.values()
    settings = parse(model.family.settings, {}, "test")
    for _ in range(2):  # both are kept
        seen = of_dataset(Stage(found, model, settings, workspace.run("better"), workspace, 1, said.append))
    images = torch.rand(3, 1, 8, 8) * 2 - 1
    assert torch.equal(seen.see(images), seen.liked(images)) is not second
    assert sum("training a classifier" in line for line in said) == 1 + second


def test_a_vae_is_rewarded_for_one_class(recipe, tmp_path):
    """It is asked for nothing: the recipe names the class."""
    (result,) = train(recipe(of("vae"), "reward={class={name='bright'}}", "train.steps=1"), Workspace(tmp_path))
    (line,) = read_metrics(result.run.metrics, "train")
    assert line["best_reward"] > line["reward/class"]
    assert open_model(result.run.folder).family.name == "vae"
