"""Models that read, on disk: pipelines of Stable Diffusion 3, and nets of pixels with their tower."""

import dataclasses
import json

import diffusers
import pytest
import torch
import transformers

from makar.codecs.captions import train_captions
from makar.core.errors import ModelError
from makar.core.nouns import Request, TextEncoder
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.clip.text import ClipReader, ClipText
from makar.families.diffusion.caption import encoder_of
from makar.families.diffusion.denoise import Guidance, guided
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.path import levels_of
from makar.families.diffusion.piped import no_pipeline
from makar.families.diffusion.samplers import SAMPLERS, sample
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.diffusion.towers import Towers
from makar.families.diffusion.words import captions_of
from makar.interop.convert import export_model
from makar.nets.clip import ClipTextModel
from makar.nets.clip_config import ClipTextConfig
from tests.families.diffusion.conftest import shaken
from tests.families.diffusion.reading import Tower, reader
from tests.families.diffusion.test_latent import codec, make, saved

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy
TEXTS = ["a cat wearing sunglasses in space", "a red dog", "two blue cats in the forest"]
SHAPE = {"sample_size": 4, "in_channels": 3, "joint_attention_dim": 40, "pooled_projection_dim": 12}


def tower(seed=0, width=16):
    """A tiny CLIP that reads, with random weights and a tokenizer of its own."""
    config = ClipTextConfig(
        hidden_size=width, num_hidden_layers=2, num_attention_heads=2, vocab_size=600, max_position_embeddings=12
    )
    net = ClipReader(ClipTextModel(config), torch.nn.Linear(width, 6, bias=False))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.dim() == 1))
    return ClipText(net.eval(), train_captions(TEXTS * 3, 600, 12))


def piped(text=None, **shape):
    """A model of latents that a pipeline fits."""
    return reader(tower=text or tower(), parts={"codec": codec()}, **{**SHAPE, "empty_tokens": 256, **shape})


@torch.no_grad()
def made_by_us(model, prompt, start, guidance, negative=None):
    levels = levels_of(model.config.path, 4)
    ones = torch.ones(len(start))
    told, instead = (captions_of(model, [text] * len(start)) for text in (prompt, negative))
    denoise = guided(model, told, Guidance(guidance * ones, 0 * ones, 1e9 * ones, 0 * ones), instead)
    return sample(SAMPLERS["euler"], denoise, start * levels[0], levels)


@torch.no_grad()
def made_by_diffusers(pipeline, model, prompt, start, guidance, negative=None, **more):
    pipeline.set_progress_bar_config(disable=True)
    times = levels_of(model.config.path, 4)[:-1]
    times = (times / (1 + times)).tolist()
    return pipeline(
        [prompt] * len(start), sigmas=times, num_inference_steps=4, latents=start * times[0], guidance_scale=guidance,
        negative_prompt=None if negative is None else [negative] * len(start), **more,
    ).images  # fmt: skip


@pytest.mark.parametrize(("guidance", "negative"), [(1.0, None), (4.0, None), (4.0, "a red dog")])
@torch.no_grad()
def test_the_folder_is_a_pipeline_that_makes_the_same_pictures(tmp_path, caplog, guidance, negative):
    """From the same noise, with 256 empty tokens behind each text."""
    model = piped()
    folder = saved(model, tmp_path / "model")
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    start = torch.randn(2, 3, 4, 4)
    theirs = made_by_diffusers(pipeline, model, TEXTS[0], start, guidance, negative, output_type="pt")
    latents = made_by_us(model, TEXTS[0], start, guidance, negative)
    ours = (model.parts["codec"].images(latents) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert "not expected" not in caplog.text
    again = open_model(folder)
    assert again.config == model.config
    assert again.parts["text"].hash() == model.parts["text"].hash()
    asked = [Request(TEXTS[0], 1, DiffusionSettings(steps=2))]
    assert Engine(again).generate(asked)[0].data == Engine(model).generate(asked)[0].data


@torch.no_grad()
def made_elsewhere(folder):
    """A pipeline of two towers of other widths, norms of queries and keys, dual attention, and a shift of the flow."""
    clips = [
        transformers.CLIPTextModelWithProjection(
            transformers.CLIPTextConfig(
                vocab_size=600, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=12, projection_dim=6, hidden_act=act, bos_token_id=0,
                eos_token_id=1, pad_token_id=1,
            )
        ).eval()
        for width, act in ((16, "quick_gelu"), (24, "gelu"))
    ]  # fmt: skip
    train_captions(TEXTS * 3, 600, 12).save(folder / "words")
    words = [transformers.CLIPTokenizer.from_pretrained(folder / "words") for _ in clips]
    words[1].pad_token = "!"  # as the second one of Stable Diffusion 3
    net = diffusers.SD3Transformer2DModel(
        sample_size=4, in_channels=3, out_channels=3, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=48, caption_projection_dim=16, pooled_projection_dim=12, pos_embed_max_size=4,
        dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=3, scaling_factor=1.5, shift_factor=0.1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    return diffusers.StableDiffusion3Pipeline(
        transformer=shaken(net).eval(), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), vae=vae.eval(),
        text_encoder=clips[0], tokenizer=words[0], text_encoder_2=clips[1], tokenizer_2=words[1],
        text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip


def test_a_pipeline_made_elsewhere_runs_here(tmp_path):
    theirs = made_elsewhere(tmp_path)
    theirs.save_pretrained(tmp_path / "model")
    model = open_model(tmp_path / "model")
    assert (model.config.path.shift, model.config.net.empty_tokens) == (3.0, 256)
    assert isinstance(model.parts["text"], Towers)
    assert isinstance(model.parts["text"], TextEncoder)
    start = torch.randn(2, 3, 4, 4)
    ours = made_by_us(model, TEXTS[1], start, 3.0)
    theirs.scheduler.set_shift(1.0)  # the levels that we give it are shifted already
    found = made_by_diffusers(theirs, model, TEXTS[1], start, 3.0, output_type="latent")
    torch.testing.assert_close(ours, found, atol=1e-3, rtol=1e-3)
    again = open_model(saved(model, tmp_path / "again"))
    assert again.config == model.config
    assert again.parts["text"].hash() == model.parts["text"].hash()
    opened = diffusers.StableDiffusion3Pipeline.from_pretrained(
        tmp_path / "again", text_encoder_3=None, tokenizer_3=None
    )
    opened.scheduler.set_shift(1.0)
    torch.testing.assert_close(
        made_by_diffusers(opened, model, TEXTS[1], start, 3.0, output_type="latent"), found, atol=1e-4, rtol=1e-4
    )


@torch.no_grad()
def test_a_net_of_pixels_lies_beside_its_tower(tmp_path, caplog):
    """No pipeline makes its pictures; diffusers opens the net, transformers the tower."""
    model = reader(prediction="data", tower=tower(), joint_attention_dim=40, pooled_projection_dim=12)
    model = dataclasses.replace(model, generation={"steps": 3, "guidance_scale": 3.0})
    folder = saved(model, tmp_path / "model")
    assert not (folder / "model_index.json").exists()
    again = open_model(folder)
    assert (again.config, again.generation) == (model.config, model.generation)
    assert Engine(again).generate([Request(TEXTS[0])])[0].data == Engine(model).generate([Request(TEXTS[0])])[0].data
    theirs = diffusers.SD3Transformer2DModel.from_pretrained(folder)
    x, time = torch.randn(1, 1, 8, 8), torch.tensor([300.0])
    told = captions_of(model, [TEXTS[0]])
    empty = torch.cat((told.tokens, torch.zeros(1, 3, 40)), 1)
    found = theirs(x, empty, told.pooled, time).sample
    torch.testing.assert_close(found, model.net(x, time, *told), atol=1e-4, rtol=1e-4)
    assert "not expected" not in caplog.text
    clip = transformers.CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder")
    words = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    ids = words([TEXTS[0]], padding="max_length", max_length=12, return_tensors="pt").input_ids
    found = clip(ids).text_embeds
    torch.testing.assert_close(found.repeat(1, 2), told.pooled, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("path", "prediction", "shape"), [
    ("flow", "data", {}), ("ddpm", "velocity", {}), ("flow", "velocity", {"empty_tokens": 0}),
])  # fmt: skip
def test_what_no_pipeline_fits_is_parts(tmp_path, path, prediction, shape):
    model = reader(path, prediction, tower(), {"codec": codec()}, **SHAPE, **shape)
    folder = saved(model, tmp_path / "model")
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == "LatentDiffusion"
    again = open_model(folder)
    assert again.config == model.config
    assert again.parts["text"].hash() == model.parts["text"].hash()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: piped(), None),
        (lambda: reader(tower=tower(), joint_attention_dim=40, pooled_projection_dim=12), "without a VAE"),
        (lambda: reader("flow", "data", tower(), {"codec": codec()}, **SHAPE), "takes the velocity of a flow"),
        (lambda: piped(empty_tokens=7), "this net learned with 7"),
        (lambda: reader(tower=tower(), parts={"codec": codec("vq")}, **SHAPE, empty_tokens=256), "an AutoencoderKL"),
        (lambda: make(), None),
    ],
)
def test_why_no_pipeline_fits_is_said(model, said):
    found = no_pipeline(model())
    assert found is None if said is None else said in found


def test_export_says_why_no_pipeline_fits(tmp_path):
    said = []
    folder = saved(reader(tower=tower(), joint_attention_dim=40, pooled_projection_dim=12), tmp_path / "model")
    export_model(folder, "transformers", tmp_path / "out", say=said.append)
    assert "SD3Transformer2DModel" in said[-1]
    assert open_model(tmp_path / "out").parts["text"].hash() == tower().hash()


def test_a_tower_that_is_no_clip_has_no_folder(tmp_path):
    with pytest.raises(ModelError, match="take a trained CLIP"):
        saved(reader(tower=Tower()), tmp_path / "model")
    folder = saved(reader(tower=tower(), joint_attention_dim=40, pooled_projection_dim=12), tmp_path / "other")
    (folder / "text_encoder" / "config.json").unlink()
    with pytest.raises(ModelError, match="config.json"):
        open_model(folder)


def test_two_towers_are_both_hashed():
    one, other = tower(0), tower(1)
    assert Towers(one, other).hash() != Towers(other, one).hash()
    assert encoder_of(piped(Towers(one, other))).width == 32
    assert FAMILY.sampler.start(piped(Towers(one, other)), [Request(TEXTS[1])])["tokens"].shape == (1, 12, 40)
