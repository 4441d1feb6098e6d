"""CLIP, an autoencoder and a model that reads, by one recipe: what comes out is a pipeline of Stable Diffusion 3."""

import json

import diffusers
import pytest
import torch
from PIL import Image

from makar.core.errors import ModelError
from makar.core.nouns import Request
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.diffusion.towers import Towers
from makar.recipes.assemble import assemble
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.run import Workspace
from makar.train.metrics import read_metrics
from tests.emoji import draw_set
from tests.families.diffusion.test_piped import TEXTS, made_elsewhere

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy
DATA = 'data = {{ sources = ["{folder}"], rows = "scenes" }}'
TRAIN = 'train = {{ steps = 4, batch_size = 4, checkpoint_steps = 2, compile = "off", precision = "fp32" }}'
WATCH = "watch = {{ validate_rows = 4, validate_every = 4, sample_every = 4 }}"
NET = (
    'kind = "mmdit", num_layers = 1, num_attention_heads = 2, attention_head_dim = 8, joint_attention_dim = 32,'
    " pooled_projection_dim = 24"
)
RECIPE = f"""
[stages.clip]
{DATA}
{TRAIN}
{WATCH}
[stages.clip.model]
family = "clip"
vision = {{{{ hidden_size = 16, num_hidden_layers = 1, patch_size = 16 }}}}
text = {{{{ hidden_size = 16, num_hidden_layers = 2, vocab_size = 600 }}}}
projection_dim = 12

[stages.codec]
{DATA}
{TRAIN}
{WATCH}
[stages.codec.model]
family = "autoencoder"
net = {{{{ sample_size = 32, block_out_channels = [8, 8, 8], mid_block_add_attention = false }}}}

[stages.latents]
parts = {{{{ text = "@clip", codec = "@codec" }}}}
sample = {{{{ steps = 2, guidance_scale = 2.0 }}}}
{DATA}
{TRAIN}
watch = {{{{ validate_rows = 4, validate_every = 4, sample_every = 4, prompts = ["a cat in space"] }}}}
[stages.latents.model]
family = "diffusion"
net = {{{{ {NET}, sample_size = 8, in_channels = 4 }}}}

[stages.pixels]
parts = {{{{ text = "@clip" }}}}
sample = {{{{ steps = 2, guidance_scale = 2.0 }}}}
{DATA}
{TRAIN}
watch = {{{{ validate_rows = 4, validate_every = 4, sample_every = 4, prompts = ["a cat in space", "two dogs"] }}}}
[stages.pixels.model]
family = "diffusion"
prediction = "data"
net = {{{{ {NET}, sample_size = 32, patch_size = 8, empty_tokens = 0 }}}}
"""


class Killed(BaseException):
    """Stands for a kill: nothing is saved on the way out."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the recipe, of scenes made of discs."""
    root = tmp_path_factory.mktemp("scenes")
    (root / "told.toml").write_text(RECIPE.format(folder=draw_set(root / "emoji")))
    return root


@pytest.fixture(scope="module")
def done(place):
    """All four stages, trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)
        patch.setattr("makar.recipes.captioned.TOLD", 200)
        found = train(load_recipe(place / "told.toml"), Workspace(place))
    return {result.run.folder.name: result.run for result in found}


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)


def test_a_model_of_latents_is_a_pipeline(done):
    model = open_model(done["latents"].model)
    assert Engine(model).generate([Request("a cat in space")])[0].data.size == (32, 32)
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(
        done["latents"].model, text_encoder_3=None, tokenizer_3=None
    )
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a cat in space", num_inference_steps=2).images[0].size == (32, 32)
    clip = open_model(done["clip"].model)
    assert model.parts["text"].hash() == clip.family.text(clip).hash()


def test_a_model_of_pixels_keeps_its_tower_and_its_wishes(done):
    model = open_model(done["pixels"].model)
    assert model.generation == {"steps": 2, "guidance_scale": 2.0}
    one, other = (
        Engine(model).generate([Request(text, 1)])[0].data for text in ("a cat in space", "two dogs in the snow")
    )
    assert one.size == (32, 32)
    assert one != other
    assert (done["pixels"].samples / "step-00000004.png").exists()
    assert list(done["pixels"].manifest["parent"]) == ["@told/clip"]


def test_an_interrupted_run_goes_on_to_the_bit(place, done):
    file = load_recipe(place / "told.toml", stage="pixels")
    file = type(file)("again", {"again": file.stages[next(iter(file.stages))]})

    def stop(state):
        if state.step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(file, Workspace(place), progress=stop)
    (again,) = train(file, Workspace(place))
    lines = [[line["loss_hex"] for line in read_metrics(run.metrics)] for run in (again.run, done["pixels"])]
    assert lines[0] == lines[1]


def test_it_goes_on_with_what_it_reads_by(place, done, tmp_path):
    """A finished model is a beginning, and brings its tower."""
    text = f'init = "{done["pixels"].model}"\n{DATA}\n{TRAIN}\n{WATCH}\n'.format(folder=place / "emoji")
    (tmp_path / "more.toml").write_text(text)
    (result,) = train(load_recipe(tmp_path / "more.toml", run=tmp_path / "more"), Workspace(tmp_path))
    before, after = open_model(done["pixels"].model), open_model(result.run.model)
    assert before.parts["text"].hash() == after.parts["text"].hash()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("parts={}", "name a trained CLIP"),
        ("model.net.pooled_projection_dim=20", "set it to 24"),
        ("model.net.joint_attention_dim=31", "set it to 32"),
    ],
)
@pytest.mark.usefixtures("done")
def test_what_does_not_fit_is_refused_before_it_trains(place, tmp_path, change, said):
    sets = [f"stages.pixels.{change}", 'stages.pixels.watch.prompts=["a cat"]']
    file = load_recipe(place / "told.toml", sets, stage="pixels")
    with pytest.raises(ModelError, match=said):
        assemble(next(iter(file.stages.values())), Workspace(tmp_path).run("x"), Workspace(place))


def test_a_pipeline_made_elsewhere_is_fine_tuned_here(tmp_path):
    """Two towers, which are frozen, an autoencoder of another hand, and captions of one's own."""
    made_elsewhere(tmp_path).save_pretrained(tmp_path / "theirs")
    (tmp_path / "pictures").mkdir()
    rows: list[str] = []
    for number in range(24):
        Image.new("RGB", (8, 8), (9 * number, 99, 30)).save(tmp_path / "pictures" / f"{number}.png")
        rows.append(json.dumps({"file_name": f"{number}.png", "text": TEXTS[number % 3]}) + "\n")
    (tmp_path / "pictures" / "metadata.jsonl").write_text("".join(rows))
    collected = "{ valid_fraction = 0.3, test_fraction = 0.0, pictures = { near = 0 } }"
    (tmp_path / "mine.toml").write_text(f"""
init = "{tmp_path / "theirs"}"
data = {{ sources = ["{tmp_path / "pictures"}"], rows = "captioned", collect = {collected} }}
train = {{ steps = 1, batch_size = 4, compile = "off" }}
watch = {{ validate_rows = 4, prompts = ["a red dog"] }}
sample = {{ steps = 2, guidance_scale = 2.0 }}
""")
    (result,) = train(load_recipe(tmp_path / "mine.toml"), Workspace(tmp_path))
    before, after = open_model(tmp_path / "theirs"), open_model(result.run.model)
    assert isinstance(after.parts["text"], Towers)
    assert after.parts["text"].hash() == before.parts["text"].hash()
    assert after.config == before.config
    pairs = zip(before.net.parameters(), after.net.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(
        result.run.model, text_encoder_3=None, tokenizer_3=None
    )
    assert pipeline.text_encoder.config.hidden_size != pipeline.text_encoder_2.config.hidden_size
