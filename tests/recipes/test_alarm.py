"""A generator that makes one picture a class is noticed and taken back; a healthy one is let alone."""

import pytest
import torch

from makar.core.errors import Diverged
from makar.core.nouns import Model, Verdict
from makar.data.table import TensorSource
from makar.families.gan.config import GanConfig
from makar.families.gan.family import FAMILY
from makar.families.gan.objective import Relativistic
from makar.families.gan.settings import GanSettings
from makar.nets.gan_config import R3ganConfig
from makar.recipes.alarm import FLOOR, collapse_alarm
from makar.train.config import Optimizer, TrainConfig
from makar.train.loop import fit
from makar.train.metrics import read_metrics
from makar.train.session import Periodic


@pytest.fixture(params=[0, 2])
def model(request):
    net = R3ganConfig(
        sample_size=8, in_channels=1, num_classes=request.param, block_out_channels=(16, 16), layers_per_block=1,
        group_width=8, latent_size=8,
    )  # fmt: skip
    torch.manual_seed(0)
    config = GanConfig(net=net)
    return Model(FAMILY, config, FAMILY.build(config))


@pytest.fixture
def source():
    return TensorSource({"images": torch.rand(96, 1, 8, 8) * 2 - 1, "label": torch.arange(96) % 2}, seed=0)


def alarm(model, source, steps=100):
    classes = model.config.net.num_classes
    return collapse_alarm(source, source, GanSettings(), rows=64, steps=steps, classes=classes, seed=0)


@torch.no_grad()
def collapse(model):
    """All latents make one picture; classes still differ."""
    model.net.generator.modulate.weight[:, : model.config.net.latent_size] = 1e-3
    if model.config.net.num_classes == 0:
        model.net.generator.modulate.weight.mul_(1e-3)


def test_a_healthy_generator_is_let_alone(model, source):
    verdict = alarm(model, source)(50, model)
    assert verdict.action == "go"
    assert verdict.logs["spread"] > 2 * FLOOR
    assert 0 <= verdict.logs["recall"] <= 1
    assert verdict.score is None


def test_a_collapsed_one_rings_the_alarm_and_says_why(model, source):
    look = alarm(model, source)
    collapse(model)
    verdict = look(50, model)
    assert verdict.action == "back"
    assert verdict.logs["spread"] < FLOOR
    assert "collapse" in (verdict.note or "")
    assert look(10, model).action == "go"  # one that has hardly begun may still be narrow


def mimic(model, pictures):
    """A generator that makes some pictures in turn, and makes nothing else."""
    model.net.generator.draw = lambda codes: pictures[torch.arange(len(codes)) % len(pictures)]


@pytest.mark.parametrize("model", [0], indirect=True)
@pytest.mark.parametrize(("kinds", "action"), [(3, "back"), (96, "go")])
def test_a_generator_that_lost_most_modes_rings_however_far_apart_the_others_are(model, source, kinds, action):
    mimic(model, source.columns["images"][:kinds])
    look = alarm(model, source, steps=1000)
    verdict = look(250, model)
    assert verdict.logs["spread"] > 2 * FLOOR
    assert verdict.action == action
    assert ("recall of at least 0.02" in (verdict.note or "")) == (action == "back")
    assert look(150, model).action == "go"  # it has hardly begun
    assert alarm(model, source, steps=100)(100, model).action == "go"  # as has a run of so few steps


@pytest.mark.parametrize("held", [1, 40])
def test_where_few_pictures_are_held_out_those_of_training_are_looked_at(model, source, held):
    few = TensorSource({name: column[:held] for name, column in source.columns.items()}, seed=0)
    classes = model.config.net.num_classes
    look = collapse_alarm(few, source, GanSettings(), rows=64, steps=100, classes=classes, seed=0)
    verdict = look(50, model)
    assert (verdict.action, verdict.logs["spread"]) == ("go", alarm(model, source)(50, model).logs["spread"])
    collapse(model)
    assert look(50, model).action == "back"


@pytest.mark.parametrize("model", [2], indirect=True)
def test_classes_of_one_picture_are_compared_all_together(model):
    one_each = TensorSource({"images": torch.rand(2, 1, 8, 8) * 2 - 1, "label": torch.arange(2)}, seed=0)
    assert 0 < alarm(model, one_each)(50, model).logs["spread"] < 100


def train(model, source, folder, *watches, say=print):
    optimizer = Optimizer(learning_rate=1e-4, weight_decay=0.0, betas=(0.0, 0.99))
    config = TrainConfig(steps=12, batch_size=8, optimizer=optimizer, checkpoint_steps=4, compile="off")
    fit(model, source, Relativistic(), config, seed=0, folder=folder, watches=watches, say=say)


@pytest.mark.parametrize("model", [2], indirect=True)
def test_a_run_goes_back_to_where_it_was_healthy(model, source, tmp_path):
    done, said = [], []

    def saboteur(step, model):
        if step == 6 and not done:
            done.append(step)
            collapse(model)
        return Verdict()

    watches = (Periodic("saboteur", saboteur, 1), Periodic("collapse", alarm(model, source, steps=12), 6))
    train(model, source, tmp_path, *watches, say=said.append)
    last = read_metrics(tmp_path / "metrics.jsonl", "watch")[-1]
    assert (last["step"], last["spread"] > FLOOR) == (12, True)
    assert done == [6]
    assert any("collapse" in line and "back to step 4, skipping steps 4 to 5" in line for line in said)


@pytest.mark.parametrize("model", [2], indirect=True)
def test_a_run_that_collapses_again_and_again_ends(model, source, tmp_path):
    def saboteur(step, model):
        if step >= 6:
            collapse(model)
        return Verdict()

    watches = (Periodic("saboteur", saboteur, 1), Periodic("collapse", alarm(model, source, steps=12), 6))
    with pytest.raises(Diverged, match="collapse"):
        train(model, source, tmp_path, *watches)
