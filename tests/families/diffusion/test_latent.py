"""Diffusion in an autoencoder's latents: rows, folders that diffusers opens, and pictures as it makes them."""

import dataclasses
import json

import diffusers
import pytest
import torch

from makar.core.errors import InputError, ModelError
from makar.core.nouns import LatentCodec, Model, Request
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.autoencoder.codec import AutoencoderCodec
from makar.families.autoencoder.config import AutoencoderConfig
from makar.families.autoencoder.family import FAMILY as AUTOENCODER
from makar.families.diffusion.config import DdpmPath, DiffusionConfig, FlowPath
from makar.families.diffusion.denoise import Guidance, guided
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.path import ddpm_sigmas
from makar.families.diffusion.samplers import SAMPLERS, sample
from makar.families.vae.codec import VaeCodec
from makar.families.vae.config import VaeConfig
from makar.families.vae.family import FAMILY as VAE
from makar.nets.gaussians import Normal
from makar.nets.image_config import DiTConfig, UNetConfig
from tests.families.diffusion.conftest import shaken

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy
NECKS = {"kl": {"kind": "kl", "latent_channels": 3}, "vq": {"kind": "vq", "num_vq_embeddings": 8, "vq_embed_dim": 3},
         "fsq": {"kind": "fsq", "levels": (4, 3, 3)}}  # fmt: skip


def codec(neck="kl"):
    shape = {"sample_size": 8, "in_channels": 1, "block_out_channels": (8, 8), "bottleneck": NECKS[neck]}
    config = AutoencoderConfig.model_validate({"net": shape, "scaling_factor": 1.7})
    return AutoencoderCodec(Model(AUTOENCODER, config, shaken(AUTOENCODER.build(config)).eval()))


def make(path=DdpmPath(), neck="kl", net="dit", classes=3, names=()):  # noqa: B008
    shape = {"sample_size": 4, "in_channels": 3, "num_classes": classes}
    if net == "dit":
        net = DiTConfig(**shape, num_layers=2, num_attention_heads=2, attention_head_dim=8)
    else:
        net = UNetConfig(**shape, block_out_channels=(8,), layers_per_block=1)
    config = DiffusionConfig(net=net, path=path, prediction="velocity", classes=names)
    return Model(FAMILY, config, shaken(FAMILY.build(config)).eval(), {"codec": codec(neck)})


def of_vae(net, likelihood="logistic"):
    """A diffusion model of the codes of a variational autoencoder."""
    config = VaeConfig.model_validate({"net": net, "likelihood": likelihood})
    coder = VaeCodec(Model(VAE, config, VAE.build(config)))
    shape = DiTConfig(
        sample_size=1, patch_size=1, in_channels=coder.latent_channels, num_layers=1, num_attention_heads=2,
        attention_head_dim=8, num_classes=3,
    )  # fmt: skip
    config = DiffusionConfig(net=shape)
    return Model(FAMILY, config, shaken(FAMILY.build(config)).eval(), {"codec": coder})


def saved(model, folder):
    folder.mkdir()
    FAMILY.folder.save(model, folder)
    return folder


VAES = {
    "mlp": {"kind": "mlp", "sample_size": 8, "hidden_sizes": [8], "latent_size": 3},
    "conv": {"kind": "conv", "sample_size": 8, "block_out_channels": [8], "latent_size": 3},
    "ladder": {"kind": "ladder", "sample_size": 8, "block_out_channels": [8, 8], "latent_channels": [1, 2]},
}


@pytest.mark.parametrize("net", VAES)
def test_a_vae_is_a_codec_of_one_place(tmp_path, net):
    """From pictures to codes and back as the model itself says it; a model of its codes comes back whole."""
    model = of_vae(VAES[net])
    coder, images = model.parts["codec"], torch.rand(2, 1, 8, 8) * 2 - 1
    assert isinstance(coder, LatentCodec)
    mean, spread = coder.moments(images)
    assert mean.shape == spread.shape == (2, coder.latent_channels, 1, 1)
    torch.testing.assert_close(mean.flatten(1), coder.model.net.code_of(images))
    if net != "ladder":
        seen = coder.model.net.see(images)
        twice = torch.full((2, coder.latent_channels), 2.0)
        torch.testing.assert_close((mean + 2 * spread).flatten(1), Normal(*seen).at(twice))
    again = open_model(saved(model, tmp_path / "model"))
    assert again.parts["codec"].hash() == coder.hash()
    pictures = [Engine(each).generate([Request(1)])[0].data for each in (model, again)]
    assert pictures[0].size == (8, 8)
    assert pictures[0] == pictures[1]
    with pytest.raises(InputError, match="one size"):
        coder.moments(torch.zeros(1, 1, 16, 16))


def test_an_autoencoder_is_a_codec_of_latents():
    assert isinstance(codec(), LatentCodec)
    images = torch.rand(2, 1, 8, 8) * 2 - 1
    mean, spread = codec().moments(images)
    theirs = codec().model.net.encode(images)
    torch.testing.assert_close(mean, theirs.mean * 1.7)
    torch.testing.assert_close(spread, (0.5 * theirs.log_variance).exp() * 1.7)
    torch.testing.assert_close(codec().images(mean), codec().model.net(images))
    pictures = codec().decode(codec().encode(list(images)))
    assert [picture.size for picture in pictures] == [(8, 8)] * 2
    with pytest.raises(InputError, match="multiples of 2"):
        codec().encode([torch.zeros(1, 7, 8)])
    assert codec().hash() == codec().hash() != codec("vq").hash()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@torch.no_grad()
def test_the_folder_is_a_pipeline_that_makes_the_same_pictures(tmp_path, caplog, guidance):
    """From the same noise and with the same guidance; the pipeline's label for none is 1000, whatever we know."""
    model = make(names=("hat", "shoe", "bag"))
    pipeline = diffusers.DiTPipeline.from_pretrained(saved(model, tmp_path / "model"))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    labels = pipeline.get_label_ids(["bag", "hat"])
    assert labels == [2, 0]
    theirs = pipeline(
        labels, guidance_scale=guidance, num_inference_steps=4, generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images  # fmt: skip
    start = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    levels = torch.cat((ddpm_sigmas(DdpmPath())[pipeline.scheduler.timesteps], torch.zeros(1)))
    ones = torch.ones(2)
    denoise = guided(model, torch.tensor(labels), Guidance(guidance * ones, 0 * ones, 1e9 * ones, 0 * ones))
    latents = sample(SAMPLERS["ddim"], denoise, start * (1 + levels[0] ** 2).sqrt(), levels)
    ours = (model.parts["codec"].images(latents) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert "not expected" not in caplog.text
    assert "not used" not in caplog.text


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("path", [DdpmPath(), FlowPath()], ids=lambda path: path.name)
@pytest.mark.parametrize("net", ["dit", "unet"])
@torch.no_grad()
def test_what_was_saved_comes_back(tmp_path, neck, path, net):
    """The table of docs/diffusion.md: what no pipeline fits is parts, each of which diffusers opens."""
    model = dataclasses.replace(make(path, neck, net), generation={"steps": 3})
    folder = saved(model, tmp_path / "model")
    again = open_model(folder)
    assert (again.config, again.generation) == (model.config, model.generation)
    assert again.parts["codec"].hash() == model.parts["codec"].hash()
    assert Engine(again).generate([Request(1)])[0].data == Engine(model).generate([Request(1)])[0].data
    piped = net == "dit" and path.name == "ddpm" and neck != "fsq"
    index = json.loads((folder / "model_index.json").read_text())
    assert (index["_class_name"] == "DiTPipeline") == piped
    kind, part = (diffusers.DiTTransformer2DModel, "transformer") if net == "dit" else (diffusers.UNet2DModel, "unet")
    x, time, labels = torch.randn(2, 3, 4, 4), torch.tensor([3.0, 700.0]), torch.tensor([0, 2])
    theirs = kind.from_pretrained(folder, subfolder=part)
    torch.testing.assert_close(theirs(x, time, labels).sample, model.net(x, time, labels), atol=1e-4, rtol=1e-4)
    if neck != "fsq":
        kind = diffusers.AutoencoderKL if neck == "kl" else diffusers.VQModel
        assert kind.from_pretrained(folder, subfolder="vae").config.scaling_factor == 1.7


@torch.no_grad()
def test_a_pipeline_of_diffusers_opens(tmp_path):
    """One that says a variance behind the noise, as the published one does."""
    net = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1, sample_size=4
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    diffusers.DiTPipeline(net, vae, diffusers.DDIMScheduler()).save_pretrained(tmp_path / "model")
    model = open_model(tmp_path / "model")
    assert model.config.net.num_classes == 1000
    assert model.parts["codec"].model.config.scaling_factor == 0.18215
    assert Engine(model).generate([Request(207)])[0].data.size == (8, 8)


def test_pictures_are_given_and_shown_and_latents_are_not():
    model = make()
    picture = torch.rand(1, 8, 8) * 2 - 1
    mask = torch.full((1, 8, 8), -1.0)
    mask[:, :2] = 1
    settings = FAMILY.settings(steps=4, previews=1)
    chunks = list(Engine(model).stream([Request({"label": 1, "image": picture, "mask": mask}, settings=settings)]))
    assert all(chunk.data.size == (8, 8) for chunk in chunks)
    state = FAMILY.sampler.start(model, [Request({"label": 1, "image": picture, "mask": mask})])
    torch.testing.assert_close(state["known"], model.parts["codec"].moments(picture[None])[0])
    assert state["mask"][0, 0].sum(1).tolist() == [4, 0, 0, 0]
    with pytest.raises(InputError, match="8x8"):
        FAMILY.sampler.start(model, [Request({"label": 1, "image": picture[:, :4, :4]})])


def test_what_is_no_codec_of_latents_is_refused(tmp_path):
    model = dataclasses.replace(make(), parts={"codec": object()})
    with pytest.raises(ModelError, match="makes no latents"):
        FAMILY.sampler.start(model, [Request(1)])
    folder = saved(make(), tmp_path / "model")
    (folder / "vae" / "config.json").write_text('{"_class_name": "AutoencoderTiny"}')
    with pytest.raises(ModelError, match="of another kind"):
        open_model(folder)
