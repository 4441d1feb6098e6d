"""A net that is shown edges or holes: diffusers' numbers and folders, what learns, and what a prompt shows."""

import json

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from makar.app.cli import run
from makar.core.errors import InputError, ModelError, RecipeError
from makar.core.nouns import Request
from makar.core.random import Rng
from makar.core.tensors import load_tensors
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.diffusion.control import control_of, controlled, edges, encoded, holes
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.objective import Denoise
from makar.nets.lora_config import LoraConfig
from makar.nets.mmdit_config import ControlConfig
from makar.nets.mmdit_control import Controlled
from makar.recipes.adapting import adapt
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.run import Workspace
from makar.train.metrics import read_metrics
from tests.families.diffusion.conftest import make, shaken
from tests.families.diffusion.reading import reader
from tests.families.diffusion.test_latent import saved
from tests.families.diffusion.test_piped import SHAPE, piped, tower

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy
RULES = ("edges", "mask")


def base(**shape):
    """A model of pixels that reads."""
    return reader(tower=tower(), **{**SHAPE, "sample_size": 8, "num_layers": 4, **shape})


def shown(rule="edges", model=None, **more):
    """A model that is shown something and says something of it."""
    found = controlled(model or base(), ControlConfig(shows=rule, num_layers=2, **more))
    shaken(found.net.control)
    return found


def inputs(net, rows=2):
    """What a net is told and shown."""
    config, random = net.config, torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(rows, *shape, generator=random)

    side = config.sample_size
    x, control = draw(config.in_channels, side, side), draw(config.control_channels, side, side)
    told, pooled = draw(5, config.joint_attention_dim), draw(config.pooled_projection_dim)
    return x, torch.tensor([3.0, 700.0]), told, pooled, control


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [{}, {"dual_attention_layers": (0, 3), "qk_norm": "rms_norm", "num_layers": 5}])
@pytest.mark.parametrize("zeros", [False, True])
@torch.no_grad()
def test_diffusers_says_the_same(tmp_path, rule, shape, zeros):
    model = shown(rule, base(empty_tokens=3, **shape), force_zeros_for_pooled_projection=zeros)
    folder = saved(model, tmp_path / "model")
    copy = diffusers.SD3ControlNetModel.from_pretrained(folder / "controlnet")
    net = diffusers.SD3Transformer2DModel.from_pretrained(folder)
    x, time, told, pooled, control = inputs(model.net)
    told_them = torch.cat((told, told.new_zeros(2, 3, told.shape[2])), 1)
    heard = torch.zeros_like(pooled) if zeros else pooled
    (added,) = copy(x, control, 0.7, told_them, heard, time, return_dict=False)
    theirs = net(x, told_them, pooled, time, block_controlnet_hidden_states=added).sample
    ours = model.net(x, time, told, pooled, control, torch.full((2,), 0.7))
    assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)
    back = open_model(folder)
    assert isinstance(back.net, Controlled)
    assert back.config.net.control == model.config.net.control
    assert torch.equal(back.net(x, time, told, pooled, control), model.net(x, time, told, pooled, control))


@torch.no_grad()
def test_a_fresh_copy_changes_nothing_and_strength_0_neither():
    model = base()
    fresh = controlled(model, ControlConfig(num_layers=3))
    x, time, told, pooled, control = inputs(fresh.net)
    alone = model.net(x, time, told, pooled)
    assert torch.equal(fresh.net(x, time, told, pooled, control), alone)
    shaken(fresh.net.control)
    mixed = fresh.net(x, time, told, pooled, control, torch.tensor([0.0, 1.0]))
    assert torch.equal(mixed[0], alone[0])
    assert not torch.allclose(mixed[1], alone[1], atol=1e-2)


def test_what_others_made_is_read(tmp_path):
    model = shown()
    folder = saved(model, tmp_path / "model")
    place = folder / "controlnet" / "config.json"
    found = {name: value for name, value in json.loads(place.read_text()).items() if name != "_makar"}
    for fields, control in (({}, "edges"), ({"force_zeros_for_pooled_projection": True}, "edges")):
        place.write_text(json.dumps(found | fields))
        assert open_model(folder).config.net.control.shows == control
    wrong = {"use_pos_embed": False}, {"_class_name": "FluxControlNetModel"}, {"extra_conditioning_channels": 3}
    for fields in (*wrong, {"in_channels": 16}, {"num_layers": 9}):
        place.write_text(json.dumps(found | fields))
        with pytest.raises(ModelError):
            open_model(folder)


@pytest.mark.parametrize("rule", RULES)
def test_a_model_of_latents_is_a_pipeline_of_diffusers(tmp_path, rule):
    model = shown(rule, piped(num_layers=3))
    folder = saved(model, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"].startswith("StableDiffusion3ControlNet")
    pipeline = getattr(diffusers, index["_class_name"])
    opened = pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    assert opened.controlnet.config.extra_conditioning_channels == (rule == "mask")
    weights = opened.controlnet.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.net.control.state_dict().items())


def test_edges_are_where_brightness_changes():
    images = torch.full((1, 3, 6, 6), -1.0)
    images[..., 3:] = 1.0
    found = edges(images)
    assert found.shape == images.shape
    assert (found[..., 2:4] == 1).all()
    assert (found[..., :2] == -1).all()
    assert (found[..., 4:] == -1).all()
    assert torch.equal(edges(images.transpose(2, 3)), found.transpose(2, 3))
    soft = torch.linspace(-1, 1, 6).expand(1, 1, 6, 6)
    assert edges(soft)[0, 0, 3, 3] == pytest.approx(2 * (8 * 0.4 / 4) - 1)  # 8 times the change from place to place


def test_holes_are_the_rows_own():
    rows = holes(Rng(0, 5, torch.arange(64)), 20, 30)
    assert torch.equal(rows[7:9], holes(Rng(0, 5, torch.arange(7, 9)), 20, 30))
    high, wide = rows[:, 0].amax(2).sum(1), rows[:, 0].amax(1).sum(1)
    assert 5 <= high.min() < high.max() <= 17
    assert 8 <= wide.min() < wide.max() <= 25
    assert torch.equal(rows.sum((1, 2, 3)), high * wide)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["pixels", "latents"])
def test_what_is_shown_is_made_of_the_pictures_themselves(rule, kind):
    model = shown(rule, piped(num_layers=3) if kind == "latents" else None)
    net = model.config.net
    images, rng = (
        torch.randn(3, net.in_channels, net.sample_size, net.sample_size).clamp(-1, 1),
        Rng(1, 2, torch.arange(3)),
    )
    found = control_of(model, images, rng)
    assert found.shape == (3, net.control_channels, net.sample_size, net.sample_size)
    codec = model.parts.get("codec")
    pictures = images if codec is None else codec.images(images)
    if rule == "edges":
        assert torch.equal(found, encoded(model, edges(pictures)))
    elif kind == "pixels":
        known = found[:, -1:].expand_as(images) == 1
        assert torch.equal(found[:, :-1][known], images[known])
        assert (found[:, :-1][~known] == -1).all()
        assert 0.05 < float((~known).float().mean()) < 0.7


@pytest.mark.parametrize("rule", RULES)
def test_only_the_copy_gets_a_gradient(rule):
    model = shown(rule)
    model.net.train()
    rng = Rng(0, 0, torch.arange(2))
    batch = {"images": torch.randn(2, 3, 8, 8), "tokens": model.parts["text"].ids(["a red cat"] * 2)}
    loss = Denoise()(model, Denoise().prepare(model, batch, rng), "", rng)
    loss.sum.backward()
    grads = {name: p.grad for name, p in model.net.named_parameters()}
    assert all(grad is None for name, grad in grads.items() if name.startswith("transformer."))
    for name in ("controlnet_blocks.0.weight", "pos_embed_input.proj.weight", "transformer_blocks.1.attn.to_q.weight"):
        assert grads[f"control.{name}"].abs().sum() > 0, name


def picture(side=8, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def made(model, prompt, seed=1, **settings):
    found = FAMILY.settings(**{"steps": 2, "guidance_scale": 2.0, **settings})
    return [a.data.tobytes() for a in Engine(model).generate([Request(p, seed, found) for p in prompt])]


def test_a_prompt_shows_edges_and_rows_do_not_mix():
    model, text = shown(), "a red dog"
    prompts = [{"text": text, "control": picture()}, text, {"text": text, "control": picture(seed=1)}]
    together = made(model, prompts)
    assert len(set(together)) == 3
    assert together == [made(model, [prompt])[0] for prompt in prompts]
    assert made(model, prompts[:1], control_scale=0.0)[0] == together[1]
    plain = base()
    plain.net.load_state_dict(model.net.transformer.state_dict())
    assert made(plain, [text])[0] == together[1]


def test_a_hole_is_shown_with_what_is_around_it():
    model = shown("mask")
    mask = Image.new("L", (8, 8))
    mask.paste(255, (2, 2, 6, 6))
    prompt = {"text": "a red dog", "image": picture(), "mask": mask}
    seen, blind = made(model, [prompt], strength=1.0)[0], made(model, [prompt], strength=1.0, control_scale=0.0)[0]
    assert seen != blind
    outside = np.ones((8, 8), bool)
    outside[2:6, 2:6] = False
    wanted = np.asarray(picture())
    assert (np.frombuffer(seen, np.uint8).reshape(8, 8, 3)[outside] == wanted[outside]).all()


@pytest.mark.parametrize(
    ("model", "prompt", "words"),
    [
        (lambda: shown(), {"text": "a cat", "control": picture(9)}, r"control picture has another size.*\(got '9x9'\)"),
        (lambda: shown(), {"text": "a cat", "control": "edges.png"}, "not a picture"),
        (lambda: shown("mask"), {"text": "a cat", "control": picture()}, 'give "image" and "mask"'),
        (base, {"text": "a cat", "control": picture()}, r"shown no such picture.*\[control\]"),
    ],
)
def test_what_cannot_be_shown_is_said(model, prompt, words):
    with pytest.raises(InputError, match=words):
        made(model(), [prompt])


def test_models_that_cannot_be_shown_anything_are_refused():
    with pytest.raises(RecipeError, match="what looks for it"):
        adapt(shown().net, [], LoraConfig())
    with pytest.raises(RecipeError, match="transformers that read"):
        controlled(make(), ControlConfig())
    with pytest.raises(RecipeError, match=r"fewer blocks than the net.*3 or less"):
        controlled(base(), ControlConfig(num_layers=4))
    with pytest.raises(RecipeError, match="shown something already"):
        controlled(shown(), ControlConfig())


def test_the_command_line_shows_edges_and_makes_them_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(shown(), tmp_path / "model")
    picture().save("edges.png")
    common = ["generate", "model", "a red dog", "--set", "steps=2"]
    assert run([*common, "--control", "edges.png", "--out", "with.png"]) == 0
    assert run([*common, "--out", "without.png"]) == 0
    one, other = (np.asarray(Image.open(name)) for name in ("with.png", "without.png"))
    assert (one != other).any()
    assert run(["generate", "--from", "with.png", "--out", "again.png"]) == 0
    assert (np.asarray(Image.open("again.png")) == one).all()


RECIPE = """
init = "{init}"
data = {{ sources = ["{pictures}"], rows = "subject", subject = {{ captions = ["a red cat"] }} }}
{control}
[train]
steps = 4
batch_size = 4
checkpoint_steps = 2
compile = "off"
precision = "fp32"
optimizer = {{ learning_rate = 0.01 }}
[watch]
validate_every = 4
validate_rows = 4
sample_every = 4
prompts = ["a red cat"]
[sample]
steps = 2
"""


class Killed(BaseException):
    """Stands for a kill: nothing is saved on the way out."""


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)
    (tmp_path / "mine").mkdir()
    for number in range(5):
        picture(12, number).save(tmp_path / "mine" / f"{number}.png")
    saved(base(), tmp_path / "base")

    def runs(*sets, name="shown", control="control = { num_layers = 2 }", init=tmp_path / "base", **more):
        text = RECIPE.format(init=init, pictures=tmp_path / "mine", control=control)
        (tmp_path / f"{name}.toml").write_text(text)
        return train(load_recipe(tmp_path / f"{name}.toml", sets), Workspace(tmp_path), **more)[0].run

    return runs


def test_a_run_trains_the_copy_alone_and_resumes_to_the_bit(trained, tmp_path):
    run = trained()
    weights = "diffusion_pytorch_model.safetensors"
    assert (run.model / weights).read_bytes() == (tmp_path / "base" / weights).read_bytes()
    learned = load_tensors(run.model / "controlnet" / weights)
    assert learned["controlnet_blocks.1.weight"].abs().sum() > 0
    state = load_tensors(run.folder / "checkpoints" / "step-00000004" / "state.safetensors")
    frozen = [name for name in state if name.startswith("net/transformer.")]
    assert frozen == ["net/transformer.pos_embed.pos_embed"]  # a buffer

    def killer(state):
        if state.step == 3:
            raise Killed

    with pytest.raises(Killed):
        trained(name="killed", progress=killer)
    again = trained(name="killed")
    pairs = zip(read_metrics(run.metrics), read_metrics(again.metrics), strict=True)
    assert all(one["loss_hex"] == other["loss_hex"] for one, other in pairs)
    for name, tensor in load_tensors(again.model / "controlnet" / weights).items():
        assert torch.equal(tensor, learned[name])
    on = trained(name="on", control="", init=run.model)
    assert (on.model / weights).read_bytes() == (tmp_path / "base" / weights).read_bytes()
    further = load_tensors(on.model / "controlnet" / weights)
    assert not torch.equal(further["controlnet_blocks.1.weight"], learned["controlnet_blocks.1.weight"])


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["control.num_layers=9"], "fewer blocks than the net"),
        (["control.shows=depth"], "edges"),
        (["adapter.rank=2"], "each learns alone"),
        (["control.layers=2"], "did you mean 'num_layers'"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(trained, sets, words):
    with pytest.raises(RecipeError, match=words):
        trained(*sets)
