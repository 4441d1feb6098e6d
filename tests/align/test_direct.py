"""Direct reward: its value, its gradient, and what it teaches each family."""

import dataclasses

import pytest
import torch

from makar.align.direct import Direct, Way, direct
from makar.align.pictures import PicturePrompt, made
from makar.core.errors import ModelError, RecipeError
from makar.core.nouns import LatentCodec
from makar.data.table import TensorSource
from makar.families.table import family
from makar.train.config import TrainConfig
from makar.train.loop import fit
from makar.train.metrics import read_metrics
from tests.align.painters import labelled, light, of, painter, rewarded
from tests.align.support import frozen, rng

torch.set_num_threads(1)
PROMPTS = labelled(0, 1)
ROWS = {"prompt": torch.arange(4) % 2, "label": torch.arange(4) % 2}


def objective(model, reference=None, prompts=PROMPTS, rule=light, **more):
    return direct(
        reference or frozen(model), model=model, rewards=[rewarded(rule, "light", 2.0)], prompts=prompts, **more
    )


def test_a_generators_loss_is_the_pull_less_the_reward():
    model, other = of("gan"), frozen(of("gan", 1))
    with torch.no_grad():
        found = objective(model, other, pull=0.5)(model, ROWS, "generator", rng(4))
        latent = rng(4).normal("latent", model.net.generator.latent_size)
        images, theirs = (of.net.generator(latent, ROWS["label"]) for of in (model, other))
    gap = (images - theirs).square().mean((1, 2, 3))
    wanted = (0.5 * gap - 2 * light(images.clamp(-1, 1))).sum()
    assert float(found.sum) == pytest.approx(float(wanted), rel=1e-5)
    assert float(found.logs["pull"]) == pytest.approx(float(gap.sum()), rel=1e-5)
    assert float(found.count) == 4


def test_a_samplers_pictures_are_those_that_people_see():
    """The gradient's way makes what the engine makes of the same noise."""
    model = painter(sampler="ddim", steps=4, guidance_scale=1.5)
    seen = {}

    def rule(images):
        seen["images"] = images
        return light(images)

    with torch.no_grad():
        objective(model, rule=rule)(model, ROWS, "", rng(4))
    noise = rng(4).normal("picture", 1, 8, 8)
    state = model.family.sampler.start(model, [request(label) for label in ROWS["label"].tolist()])
    state["x"] = state["levels"][:, :1, None, None] * noise
    with torch.no_grad():
        for _ in range(4):
            state, _ = model.family.sampler.step(model, state)
    torch.testing.assert_close(seen["images"], state["x"], atol=1e-5, rtol=1e-5)


def request(label):
    from makar.core.nouns import Request

    return Request(label, 0)


def test_only_the_last_steps_have_a_gradient(monkeypatch):
    """As many forward passes of the net keep a graph as steps are asked for."""
    for steps in (1, 3):
        model, reference, graphs = painter(steps=3), frozen(painter(steps=3)), []
        forward = model.net.forward
        monkeypatch.setattr(
            model.net, "forward", lambda *a, f=forward, g=graphs: g.append(torch.is_grad_enabled()) or f(*a)
        )
        loss = objective(model, reference, last_steps=steps)(model, ROWS, "", rng(4))
        assert graphs == [False] * (3 - steps) + [True] * steps
        loss.sum.backward()
        assert all(p.grad is not None for p in model.net.parameters())


def test_a_model_equal_to_its_reference_is_not_pulled():
    for model, player in ((painter(), ""), (of("gan"), "generator"), (of("vae"), "")):
        prompts = PROMPTS if model.family.name != "vae" else [PicturePrompt()]
        rows = {"prompt": ROWS["prompt"] * 0} if model.family.name == "vae" else ROWS
        loss = objective(model, prompts=prompts)(model, rows, player, rng(4))
        assert float(loss.logs["pull"]) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("name", ["gan", "vae", "diffusion"])
def test_the_reward_of_what_is_made_rises(tmp_path, name):
    model = of(name) if name != "diffusion" else painter(sampler="lcm", steps=2)
    prompts = PROMPTS if name != "vae" else [PicturePrompt()]
    columns = {"prompt": torch.arange(len(prompts))}
    columns |= {"label": torch.arange(2)} if name != "vae" else {}
    reference = frozen(model)
    config = TrainConfig(
        steps=10, batch_size=8, compile="off", optimizer={"learning_rate": 0.01, "weight_decay": 0.0},
        schedule={"name": "constant", "warmup": 0.0},
    )  # fmt: skip
    fit(
        model, TensorSource(columns, 0), objective(model, reference, prompts, pull=0.1), config, seed=0, folder=tmp_path
    )
    settings = model.family.settings.model_validate(model.generation)
    asked = [each.asked for each in prompts] * (16 // len(prompts))
    before, after = (light(made(of, asked, range(100, 116), settings)).mean() for of in (reference, model))
    assert after > before + 0.02
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert any(key.endswith("reward/light") for key in lines[0])


def test_a_pull_holds_the_pictures_back(tmp_path):
    """With a heavy pull, pictures stay nearer to where they were than with none."""
    moved = {}
    for pull in (0.0, 100.0):
        model = of("gan")
        reference = frozen(model)
        config = TrainConfig(steps=8, batch_size=8, compile="off", optimizer={"learning_rate": 0.01})
        source = TensorSource({"prompt": torch.arange(2), "label": torch.arange(2)}, 0)
        fit(model, source, objective(model, reference, pull=pull), config, seed=0, folder=tmp_path / str(pull))
        latent = torch.randn(16, model.net.generator.latent_size)
        label = torch.arange(16) % 2
        with torch.no_grad():
            moved[pull] = float(
                (model.net.generator(latent, label) - reference.net.generator(latent, label)).square().mean()
            )
    assert moved[100.0] < moved[0.0] / 2


def test_what_cannot_be_climbed_is_refused():
    model = painter()
    flat = objective(model, rule=lambda images: light(images).detach())
    with pytest.raises(RecipeError, match=r"reward light.*has no gradient"):
        flat(model, ROWS, "", rng(4))
    with torch.no_grad():
        flat(model, ROWS, "", rng(4))
    for steps in (0, 4):
        with pytest.raises(RecipeError, match=r"no so many steps.*give 1 to 3"):
            objective(model, last_steps=steps)
    with pytest.raises(ModelError, match=r"pictures of this family have no gradient.*gan"):
        objective(of("autoencoder"))


def test_no_gradient_goes_through_a_codec():
    class Codec:
        channels, latent_channels, factor = 1, 1, 2
        encode = decode = hash = moments = images = save = print

    assert isinstance(Codec(), LatentCodec)
    model = dataclasses.replace(painter(), parts={"codec": Codec()})
    with pytest.raises(ModelError, match="no gradient goes through a codec"):
        objective(model)(model, ROWS, "", rng(4))


def test_the_record_is_plain():
    model = painter()
    found = objective(model, last_steps=2)
    assert isinstance(found, Direct)
    assert found.way == Way(family("diffusion").settings(steps=3), 2)
    assert found.players == ("",)
    assert objective(of("gan")).players == ("generator",)
