"""Pictures of other shapes than the net's square: diffusers' numbers, rows of several sizes, and what cannot be."""

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from makar.app.cli import run
from makar.core.errors import InputError
from makar.core.nouns import Request
from makar.engine.run import Engine
from makar.families.diffusion.sample import noise_of
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.diffusion.wish import places_of
from makar.families.settings import square
from makar.nets.mmdit_config import ControlConfig
from tests.families.diffusion.conftest import make, shaken
from tests.families.diffusion.reading import reader
from tests.families.diffusion.test_latent import codec, saved
from tests.families.diffusion.test_piped import SHAPE, TEXTS, made_by_diffusers, made_by_us, piped, tower

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy


def pixels(**shape):
    """A model of pixels with room for sides of 16."""
    return reader(**{"pos_embed_max_size": 8, **shape})


def settings(**more):
    return DiffusionSettings(**{"steps": 2, **more})


def made(model, *asked, prompt="a red dog"):
    """Pictures of several settings, made together; each seed is its place."""
    return [each.data for each in Engine(model).generate([Request(prompt, k, one) for k, one in enumerate(asked)])]


@pytest.mark.parametrize(("height", "width"), [(12, 4), (4, 12), (8, 12)])
@torch.no_grad()
def test_the_pipeline_makes_the_same_picture_of_another_shape(tmp_path, height, width):
    """From the same noise, at diffusers' own height and width."""
    model = piped(pos_embed_max_size=4)
    folder = saved(model, tmp_path / "model")
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    shape = (3, height // 2, width // 2)
    start = torch.stack([noise_of(seed, 0, shape) for seed in (0, 1)])
    theirs = made_by_diffusers(pipeline, model, TEXTS[0], start, 3.0, height=height, width=width, output_type="pt")
    ours = (model.parts["codec"].images(made_by_us(model, TEXTS[0], start, 3.0)) / 2 + 0.5).clamp(0, 1)
    assert ours.shape[2:] == (height, width)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    asked = settings(steps=4, sampler="euler", guidance_scale=3.0, height=height, width=width)
    for answer, picture in zip(made(model, asked, asked, prompt=TEXTS[0]), theirs, strict=True):
        assert answer.size == (width, height)
        levels = (picture.permute(1, 2, 0) * 255).round().squeeze(2).int().numpy()
        assert np.abs(np.asarray(answer).astype(int) - levels).max() <= 1


@pytest.mark.parametrize("model", [pixels, lambda: reader(parts={"codec": codec()}, sample_size=4, in_channels=3,
                                                          pos_embed_max_size=4)])  # fmt: skip
def test_rows_of_several_sizes_stand_together_as_if_each_were_alone(model):
    """Also where one is done before the others, and where samplers differ."""
    asked = [
        settings(steps=3), settings(height=12, width=4, steps=2), settings(width=16, height=8, sampler="ddpm"),
        settings(height=12, width=4, sampler="heun", previews=1), settings(height=4, width=12, tile=True, steps=3),
    ]  # fmt: skip
    found = made(model(), *asked)
    assert [picture.size for picture in found] == [(8, 8), (4, 12), (16, 8), (4, 12), (12, 4)]
    for seed, (picture, one) in enumerate(zip(found, asked, strict=True)):
        alone = Engine(model()).generate([Request("a red dog", seed, one)])[0].data
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(alone).astype(int)).max() <= 1


def test_a_net_s_own_size_is_the_same_whether_it_is_said_or_not():
    model = pixels()
    plain, said = (made(model, asked)[0] for asked in (settings(), settings(height=8, width=8)))
    assert plain == said
    assert made(make(), settings(height=8), prompt=1)[0] == made(make(), settings(), prompt=1)[0]
    assert "height" not in settings().model_dump()
    assert settings(height=8).model_dump()["height"] == 8


def test_a_picture_of_another_shape_is_begun_from_and_kept_outside_its_mask():
    model, picture = pixels(), torch.linspace(-1, 1, 96).reshape(1, 8, 12)
    mask = torch.full((1, 8, 12), -1.0)
    mask[:, 2:6, 4:] = 1
    asked = settings(height=8, width=12, strength=1.0)
    found = made(model, asked, prompt={"text": "a cat", "image": picture, "mask": mask})[0]
    assert found.size == (12, 8)
    kept = ((picture[0] + 1) * 127.5).round().numpy()
    changed = np.asarray(found) != kept
    assert changed[2:6, 4:].any()
    changed[2:6, 4:] = False
    assert not changed.any()


def test_a_small_picture_of_another_shape_is_made_large():
    """The shaken net's own guesses are cut at black and white, which moves means of cells a little."""
    small = torch.linspace(-1, 1, 6).reshape(1, 2, 3)
    found = made(pixels(), settings(height=8, width=12), prompt={"text": "a cat", "small": small})[0]
    cells = np.asarray(found).astype(float).reshape(2, 4, 3, 4).mean((1, 3))
    assert np.abs(cells - (small[0].numpy() + 1) * 127.5).max() < 32


def test_a_control_has_the_picture_s_shape():
    from makar.families.diffusion.control import controlled

    base = reader(tower=tower(), **{**SHAPE, "sample_size": 8, "num_layers": 3, "pos_embed_max_size": 8})
    model = controlled(base, ControlConfig(num_layers=1))
    shaken(model.net.control)
    edges, asked = torch.rand(3, 12, 8) * 2 - 1, settings(height=12, width=8)
    text = TEXTS[0]
    with_edges = made(model, asked, prompt={"text": text, "control": edges})[0]
    assert with_edges.size == (8, 12)
    both = Engine(model).generate([
        Request({"text": text, "control": edges}, 0, asked),
        Request({"text": text, "control": edges[:, :8]}, 1, settings()),
    ])  # fmt: skip
    assert both[0].data == with_edges
    assert made(model, asked, prompt=text)[0] != with_edges


@pytest.mark.parametrize(
    ("model", "asked", "prompt", "said"),
    [
        (pixels, {"height": 9}, "a dog", r"height: a side is a whole number of patches of 2 pixels \(got 9\); .* 10"),
        (pixels, {"width": 1}, "a dog", r"width: .*\(got 1\); set it to 2"),
        (pixels, {"width": 18}, "a dog", r"width: the net has no positions for this side \(got 18\); set it to 16"),
        (lambda: reader(), {"width": 10}, "a dog", "set it to 8"),
        (lambda: piped(pos_embed_max_size=4), {"height": 14}, TEXTS[0], r"4 pixels \(got 14\); set it to 16"),
        (lambda: make(), {"height": 16}, 1, r"only a model that reads .*'8x16'\); .*its pictures are 8x8"),
        (lambda: make("dit"), {"width": 16}, 1, "only a model that reads"),
        (pixels, {}, {"text": "a dog", "image": torch.zeros(1, 12, 8)},
         r"another size than the model's \(got '8x12'\); make it 8x8, or set height=12 and width=8"),
        (pixels, {"height": 12}, {"text": "a dog", "image": torch.zeros(1, 12, 8), "mask": torch.zeros(1, 8, 8)},
         "the mask has another size .*'8x8'.* make it 8x12"),
        (pixels, {"height": 12}, {"text": "a dog", "small": torch.zeros(1, 4, 4)}, "make it 8x12 divided by a whole"),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused(model, asked, prompt, said):
    with pytest.raises(InputError, match=said):
        made(model(), settings(**asked), prompt=prompt)


def test_what_is_compared_with_squares_is_made_square():
    assert square(settings(height=12, steps=3)) == settings(steps=3)
    assert places_of(pixels(), square(settings(height=12))) == (8, 8)


def test_the_command_line_makes_another_shape_and_makes_it_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(reader(tower=tower(), **{**SHAPE, "sample_size": 8, "pos_embed_max_size": 8}), tmp_path / "model")
    common = ["generate", "model", TEXTS[1], "--set", "steps=2", "--out", "one.png"]
    assert run([*common, "--set", "height=12", "--set", "width=8"]) == 0
    one = Image.open("one.png")
    assert one.size == (8, 12)
    assert run(["generate", "--from", "one.png", "--out", "again.png"]) == 0
    assert np.array_equal(np.asarray(Image.open("again.png")), np.asarray(one))
    assert run([*common, "--set", "height=13"]) == 2
