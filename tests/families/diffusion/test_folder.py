"""Folders that diffusers opens, and folders of diffusers that we open."""

import dataclasses
import json

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from makar.app import api
from makar.core.errors import ModelError
from makar.core.nouns import Request
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.diffusion.config import DdpmPath, FlowPath
from makar.families.diffusion.denoise import expected
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.path import ddpm_sigmas
from makar.families.diffusion.samplers import SAMPLERS, sample
from tests.families.diffusion.conftest import make, shaken

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy
WAYS = (("ddpm", "noise"), ("ddpm", "velocity"), ("flow", "velocity"), ("flow", "data"), ("edm", "velocity"))
CASES = [(net, *way, classes) for net in ("unet", "dit") for way in WAYS for classes in (0, 3)]
X, TIME, LABELS = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 700.0]), torch.tensor([0, 2])
UNET = {
    "sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": (8, 8), "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 2,
}  # fmt: skip


def saved(model, folder):
    folder.mkdir()
    FAMILY.folder.save(model, folder)
    return folder


@pytest.mark.parametrize(("net", "path", "prediction", "classes"), CASES)
@torch.no_grad()
def test_diffusers_opens_every_folder_and_says_the_same(tmp_path, caplog, net, path, prediction, classes):
    """The table of docs/diffusion.md: a plain U-Net on a path with a scheduler is a pipeline, all else is a model."""
    model = make(net, path, prediction, classes)
    folder = saved(model, tmp_path / "model")
    piped = net == "unet" and not classes and (path == "ddpm" or (path, prediction) == ("flow", "velocity"))
    assert (folder / "model_index.json").exists() == piped
    kind = diffusers.UNet2DModel if net == "unet" else diffusers.DiTTransformer2DModel
    if piped:
        pipeline = diffusers.DDPMPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        theirs = pipeline.unet
        picture = pipeline(num_inference_steps=3, generator=torch.Generator().manual_seed(0)).images[0]
        assert picture.size == (8, 8)
    else:
        theirs = kind.from_pretrained(folder)
    labels = LABELS if classes else (torch.zeros(2, dtype=torch.int64) if net == "dit" else None)
    assert torch.allclose(theirs(X, TIME, labels).sample, model.net(X, TIME, labels), atol=1e-4)
    assert "not expected" not in caplog.text  # diffusers warns of fields that it does not know


@pytest.mark.parametrize(("net", "path", "prediction", "classes"), CASES)
def test_what_was_saved_comes_back(tmp_path, net, path, prediction, classes):
    model = make(net, path, prediction, classes)
    model = dataclasses.replace(model, generation={"steps": 3, "sampler": "heun"})
    again = open_model(saved(model, tmp_path / "model"))
    assert again.config == model.config
    assert again.generation == model.generation
    prompt = 1 if classes else None
    assert Engine(again).generate([Request(prompt)])[0].data == Engine(model).generate([Request(prompt)])[0].data


@pytest.mark.parametrize("net", ["unet", "dit"])
def test_the_guide_comes_back_with_the_model(tmp_path, net):
    guide = make(net, path="ddpm", prediction="noise", names=("a", "b", "c"))
    model = dataclasses.replace(make(net), parts={"guide": guide}, generation={"guidance_scale": 3.0, "steps": 3})
    again = open_model(saved(model, tmp_path / "model"))
    assert again.parts["guide"].config == guide.config
    pictures = [Engine(each).generate([Request(1)])[0].data for each in (model, again, make(net))]
    assert pictures[0] == pictures[1] != pictures[2]


def test_an_adapter_s_folder_holds_the_guide(tmp_path):
    model = dataclasses.replace(make(), parts={"guide": make("unet", prediction="data")})
    FAMILY.folder.save_parts(model, tmp_path)
    parts, generation = FAMILY.folder.load_parts(tmp_path, model.config)
    assert parts["guide"].config == model.parts["guide"].config
    assert generation == {}


@pytest.mark.parametrize(("guide", "said"), [(make(classes=2), "num_classes"), ("no model", "only a diffusion model")])
def test_a_guide_that_does_not_fit_is_refused(guide, said):
    model = dataclasses.replace(make(), parts={"guide": guide})
    with pytest.raises(ModelError, match=said):
        Engine(model).generate([Request(1)])


@torch.no_grad()
def test_the_pipeline_s_chain_is_our_ddim(tmp_path):
    """From the same noise, diffusers' own pipeline arrives at the same picture."""
    model = make(path="ddpm", prediction="velocity", classes=0)
    unet = diffusers.DDPMPipeline.from_pretrained(saved(model, tmp_path / "model")).unet
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing", clip_sample=False)
    scheduler.set_timesteps(5)
    start = torch.randn(2, 1, 8, 8)
    theirs = start
    for time in scheduler.timesteps:
        theirs = scheduler.step(unet(theirs, time).sample, time, theirs).prev_sample
    levels = torch.cat((ddpm_sigmas(DdpmPath())[scheduler.timesteps], torch.zeros(1)))
    ours = sample(
        SAMPLERS["ddim"], lambda x, sigma: expected(model, x, sigma, None), start * (1 + levels[0] ** 2).sqrt(), levels
    )
    assert torch.allclose(ours, theirs, atol=1e-3)


def foreign(folder, scheduler=None, **more):
    net = shaken(diffusers.UNet2DModel(**(UNET | more)))
    scheduler = scheduler or diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    diffusers.DDPMPipeline(unet=net, scheduler=scheduler).save_pretrained(folder)
    return net.eval()


@torch.no_grad()
def test_a_pipeline_of_diffusers_opens(tmp_path):
    theirs = foreign(tmp_path / "model")
    model = open_model(tmp_path / "model")
    assert model.config.path == DdpmPath(beta_schedule="squaredcos_cap_v2", timestep_spacing="leading")
    assert model.config.prediction == "noise"
    assert torch.allclose(model.net(X, TIME), theirs(X, TIME).sample, atol=1e-4)
    assert Engine(model).generate([Request()])[0].data.size == (8, 8)


@torch.no_grad()
def test_a_net_of_diffusers_with_classes_opens_and_cannot_be_guided(tmp_path):
    net = shaken(diffusers.UNet2DModel(**UNET, num_class_embeds=3)).eval()
    net.save_pretrained(tmp_path / "model")
    model = open_model(tmp_path / "model")
    assert (model.config.net.num_classes, model.config.net.null_class) == (3, False)
    assert torch.allclose(model.net(X, TIME, LABELS), net(X, TIME, LABELS).sample, atol=1e-4)


def test_a_flow_s_scheduler_says_the_path(tmp_path):
    foreign(tmp_path / "model", diffusers.FlowMatchEulerDiscreteScheduler(shift=2.0))
    model = open_model(tmp_path / "model")
    assert (model.config.path, model.config.prediction) == (FlowPath(shift=2.0), "velocity")


@torch.no_grad()
def test_attention_s_old_names_are_known(tmp_path):
    theirs = foreign(tmp_path / "model")
    file = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(file)
    for new, name in old.items():
        tensors = {key.replace(f".{new}.", f".{name}."): tensor for key, tensor in tensors.items()}
    save_file(tensors, file)
    assert torch.allclose(open_model(tmp_path / "model").net(X, TIME), theirs(X, TIME).sample, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"time_embedding_type": "fourier"}, "time_embedding_type.*fourier"),
        ({"act_fn": "gelu"}, "act_fn.*gelu"),
        ({"mid_block_scale_factor": 2}, "mid_block_scale_factor"),
        ({"down_block_types": ("SkipDownBlock2D",) * 2}, "down_block_types"),
        ({"block_out_channels": 7}, "block_out_channels"),
        ({"a_field_of_tomorrow": 1}, "a_field_of_tomorrow"),
        ({"layers_per_block": 2}, "tensor"),
    ],
)
def test_nets_that_we_lack_are_refused(tmp_path, more, said):
    foreign(tmp_path / "model")
    file = tmp_path / "model" / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    with pytest.raises(ModelError, match=said):
        open_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"prediction_type": "epsilom"}, "did you mean 'epsilon'"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule"),
    ],
)
def test_schedulers_that_we_lack_are_refused(tmp_path, more, said):
    foreign(tmp_path / "model")
    file = tmp_path / "model" / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    with pytest.raises(ModelError, match=said):
        open_model(tmp_path / "model")


def test_damage_is_said(tmp_path):
    folder = saved(make(classes=0), tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9])
    with pytest.raises(ModelError, match="damaged"):
        open_model(folder)
    weights.unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="pickle"):
        open_model(folder)


@pytest.mark.parametrize("own", [[], "flow", 3])
def test_damage_in_what_is_makar_s_own_is_said(tmp_path, own):
    folder = saved(make(classes=2), tmp_path / "model")
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**found, "_makar": own}))
    with pytest.raises(ModelError, match="what makar wrote there is damaged"):
        open_model(folder)


def test_a_pipeline_is_inspected_as_a_model(tmp_path):
    found = api.inspect(saved(make(classes=0), tmp_path / "model"))
    assert (found.kind, found.intact, found.facts["family"]) == ("model", True, "diffusion")
    assert list(found.facts["sha256"]) == ["unet/diffusion_pytorch_model.safetensors"]
