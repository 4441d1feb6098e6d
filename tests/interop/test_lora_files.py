"""Adapters of diffusion models in the files that people pass on: read and written, with the field's tools."""

import json
import shutil

import diffusers
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from makar.core.errors import InputError, ModelError
from makar.core.nouns import Model, Request
from makar.engine.adapters import merged, save_adapter
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.diffusion.family import FAMILY
from makar.interop.convert import export_model, import_model
from makar.interop.lora_files import DIFFUSERS, read_factors
from makar.nets.lora import adapted_layers, adapters_of, attach
from makar.nets.lora_config import LoraConfig
from tests.families.diffusion.conftest import make
from tests.families.diffusion.test_piped import piped

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy
NETS = {"SD3Transformer2DModel": "mmdit", "DiTTransformer2DModel": "dit", "UNet2DModel": "unet"}
WAYS = ("diffusers", "kohya", "peft")


def based(kind, folder):
    """A model in a folder."""
    model = piped(num_layers=3, dual_attention_layers=(0,)) if kind == "mmdit" else make(kind)
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.mul_(0.5)  # numbers of the size of a picture's, so that 1e-5 is a share of them
    folder.mkdir()
    FAMILY.folder.save(model, folder)
    return folder


def tuned(base, folder, **config):
    """An adapter over it that says something."""
    model = open_model(base)
    torch.manual_seed(1)
    attach(model.net, FAMILY.blocks(model.net), LoraConfig(**{"rank": 2, "alpha": 3.0, **config}))
    with torch.no_grad():
        for name, parameter in model.net.named_parameters():
            if "lora" in name:
                parameter.normal_(0, 0.2)
    folder.mkdir()
    save_adapter(model, folder, base)
    return folder


@torch.no_grad()
def said(model):
    net, config = model.net.eval(), model.config.net
    random = torch.Generator().manual_seed(2)
    x = torch.randn(2, config.in_channels, config.sample_size, config.sample_size, generator=random)
    if config.kind == "mmdit":
        told = torch.randn(2, 5, config.joint_attention_dim, generator=random)
        return net(x, torch.tensor([3.0, 700.0]), told, torch.randn(2, config.pooled_projection_dim, generator=random))
    return net(x, torch.tensor([3.0, 700.0]), torch.tensor([0, 1]))


@pytest.fixture(params=NETS.values())
def pair(request, tmp_path):
    base = based(request.param, tmp_path / "base")
    return base, tuned(base, tmp_path / "tuned")


def written(adapter, way, tmp_path):
    """An adapter in another layout."""
    out = export_model(adapter, way, tmp_path / ("out.safetensors" if way == "kohya" else "out"))
    return out / DIFFUSERS if way == "diffusers" else out


@pytest.mark.parametrize("way", WAYS)
def test_there_and_back_says_the_same(pair, way, tmp_path):
    base, adapter = pair
    assert not torch.allclose(said(open_model(adapter)), said(open_model(base)), atol=1e-3)
    back = import_model(written(adapter, way, tmp_path), tmp_path / "back", base=base)
    assert torch.allclose(said(open_model(back)), said(open_model(adapter)), atol=1e-5)
    assert adapters_of(open_model(back).net)["default"].rank == 2
    plain = merged(open_model(back))
    assert torch.allclose(said(plain), said(open_model(adapter)), atol=1e-5)


@pytest.mark.parametrize("targets", [(), ("to_q", "to_out.0", "net.2"), ("linear",)])
@torch.no_grad()
def test_a_pipeline_of_diffusers_loads_it(tmp_path, caplog, targets):
    base = based("mmdit", tmp_path / "base")
    adapter = tuned(base, tmp_path / "tuned", targets=targets)
    export_model(adapter, "diffusers", tmp_path / "lora")
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(base, text_encoder_3=None, tokenizer_3=None)
    pipeline.load_lora_weights(tmp_path / "lora")
    assert "led to" not in caplog.text  # unexpected or missing keys
    ours = open_model(adapter)
    config = ours.config.net
    x, told = torch.randn(2, 3, 4, 4), torch.randn(2, 5, config.joint_attention_dim)
    pooled, time = torch.randn(2, config.pooled_projection_dim), torch.tensor([3.0, 700.0])
    empty = torch.cat((told, told.new_zeros(2, config.empty_tokens, config.joint_attention_dim)), 1)
    theirs = pipeline.transformer(x, encoder_hidden_states=empty, pooled_projections=pooled, timestep=time).sample
    assert torch.allclose(ours.net.eval()(x, time, told, pooled), theirs, atol=1e-5)


@pytest.mark.parametrize("scale", [{}, {"lora_alpha": 6, "r": 2}, {"lora_alpha": 6, "r": 4, "use_rslora": True}])
def test_what_a_pipeline_saved_is_read(tmp_path, scale):
    base = based("mmdit", tmp_path / "base")
    net = diffusers.SD3Transformer2DModel.from_pretrained(base / "transformer")
    config = peft.LoraConfig(target_modules=["to_q", "add_k_proj", "ff.net.2"], **{"r": 2, "lora_alpha": 2, **scale})
    net.add_adapter(config)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora" in name:
                parameter.normal_(0, 0.2)
    layers = peft.get_peft_model_state_dict(net)
    said_so = {"transformer_lora_adapter_metadata": config.to_dict()} if scale else {}
    diffusers.StableDiffusion3Pipeline.save_lora_weights(tmp_path / "lora", transformer_lora_layers=layers, **said_so)
    ours = open_model(import_model(tmp_path / "lora", tmp_path / "ours", base=base)).net.eval()
    x, told, pooled = torch.randn(1, 3, 4, 4), torch.randn(1, 5, 40), torch.randn(1, 12)
    empty, time = torch.cat((told, torch.zeros(1, 256, 40)), 1), torch.tensor([300.0])
    with torch.no_grad():
        theirs = net.eval()(x, encoder_hidden_states=empty, pooled_projections=pooled, timestep=time).sample
        assert torch.allclose(ours(x, time, told, pooled), theirs, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_peft_opens_the_folder_of_a_run(tmp_path, name):
    base = based(NETS[name], tmp_path / "base")
    adapter = tuned(base, tmp_path / "tuned")
    place = {"mmdit": base / "transformer"}.get(NETS[name], base)
    net = peft.PeftModel.from_pretrained(getattr(diffusers, name).from_pretrained(place), adapter)
    layers = {path.removeprefix("base_model.model.") for path, m in net.named_modules() if hasattr(m, "lora_A")}
    ours = open_model(adapter)
    assert layers == set(adapted_layers(ours.net))
    weights = net.base_model.model.state_dict()
    for path, layer in adapted_layers(ours.net).items():
        assert torch.equal(weights[f"{path}.lora_B.default.weight"], layer.adapters["default"].lora_B)


def test_kohya_calls_layers_as_stability_does(tmp_path):
    base = based("mmdit", tmp_path / "base")
    file = written(tuned(base, tmp_path / "tuned"), "kohya", tmp_path)
    tensors = load_file(file)
    assert tensors["lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight"].shape == (6, 16)
    assert tensors["lora_unet_joint_blocks_0_x_block_attn_qkv.lora_up.weight"].shape == (48, 6)
    assert tensors["lora_unet_joint_blocks_0_x_block_attn_qkv.alpha"] == 6
    kinds = {name.partition(".")[0].partition("blocks_")[2][2:] for name in tensors}
    assert {"x_block_attn2_qkv", "context_block_mlp_fc1", "x_block_adaLN_modulation_1"} <= kinds
    factors = read_factors(file, open_model(base).net)
    down, up = factors["transformer_blocks.2.norm1_context.linear"]
    theirs = "lora_unet_joint_blocks_2_context_block_adaLN_modulation_1"
    assert torch.equal(up, tensors[f"{theirs}.lora_up.weight"].roll(16, 0))  # shift and scale change places


def test_diffusers_names_in_kohyas_spelling_are_read_and_its_alpha_counts(tmp_path):
    base = based("mmdit", tmp_path / "base")
    down, up = torch.randn(2, 16), torch.randn(16, 2)
    for prefix, alpha, scale in (("lora_unet", torch.tensor(1.0), 0.5), ("lora_transformer", None, 1.0)):
        name = f"{prefix}_transformer_blocks_1_attn_to_out_0"
        tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        save_file(tensors | ({} if alpha is None else {f"{name}.alpha": alpha}), tmp_path / "a.safetensors")
        (found,) = read_factors(tmp_path / "a.safetensors", open_model(base).net).values()
        assert torch.equal(found.up @ found.down, scale * up @ down)


def test_layers_of_other_ranks_are_padded(tmp_path):
    base = based("mmdit", tmp_path / "base")
    tensors = {}
    for place, rank in enumerate((1, 3)):
        name = f"lora_unet_transformer_blocks_{place}_attn_to_q"
        tensors |= {f"{name}.lora_down.weight": torch.randn(rank, 16), f"{name}.lora_up.weight": torch.randn(16, rank)}
    save_file(tensors, tmp_path / "a.safetensors")
    model = open_model(import_model(tmp_path / "a.safetensors", tmp_path / "in", base=base))
    layer, plain = model.net.transformer_blocks[0].attn.to_q, open_model(base).net.transformer_blocks[0].attn.to_q
    first = "lora_unet_transformer_blocks_0_attn_to_q"
    wanted = plain.weight + tensors[f"{first}.lora_up.weight"] @ tensors[f"{first}.lora_down.weight"]
    assert torch.allclose(layer.with_adapter("default"), wanted, atol=1e-6)


BROKEN = {
    "lora_te1_text_model.lora_down.weight": "no part of such an adapter",
    "lora_unet_transformer_blocks_9_attn_to_q.lora_down.weight": "of another base: no such layer",
    "lora_unet_transformer_blocks_0_attn_to_q.lora_down.weight": "half of an adapter's layer is missing",
    "transformer.transformer_blocks.9.attn.to_q.lora_A.weight": "half of an adapter's layer is missing",
    "text_encoder.layers.0.q_proj.lora_A.weight": "no part of such an adapter",
    "transformer.transformer_blocks.0.attn.to_q.lora_magnitude_vector": "no part of such an adapter",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_belong_is_named(tmp_path, name):
    base = based("mmdit", tmp_path / "base")
    save_file({name: torch.zeros(2, 16)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=BROKEN[name]):
        import_model(tmp_path / "a.safetensors", tmp_path / "in", base=base)
    assert not (tmp_path / "in").exists()


def test_an_adapter_of_another_base_is_refused(pair, tmp_path):
    _, adapter = pair
    other = make("dit", classes=0) if open_model(adapter).config.net.kind != "dit" else make("unet")
    (tmp_path / "other").mkdir()
    FAMILY.folder.save(other, tmp_path / "other")
    for way in ("diffusers", "kohya"):
        with pytest.raises(ModelError, match="another base"):
            import_model(written(adapter, way, tmp_path), tmp_path / "in", base=tmp_path / "other")


def test_settings_for_each_layer_and_damaged_files_are_refused(tmp_path):
    base = based("mmdit", tmp_path / "base")
    said_so = {"lora_adapter_metadata": json.dumps({"transformer.alpha_pattern": {"to_q": 4}})}
    name = "transformer.transformer_blocks.0.attn.to_q.lora_"
    tensors = {f"{name}A.weight": torch.zeros(2, 16), f"{name}B.weight": torch.zeros(16, 2)}
    save_file(tensors, tmp_path / "a.safetensors", metadata=said_so)
    for file, said in {"d": "{", "e": '{"transformer.r": 0, "transformer.lora_alpha": 1}'}.items():
        save_file(tensors, tmp_path / f"{file}.safetensors", metadata={"lora_adapter_metadata": said})
    (tmp_path / "b.safetensors").write_bytes(b"\x08" + bytes(20))
    save_file({}, tmp_path / "c.safetensors")
    faults = {"a": "settings for each", "b": "damaged", "c": "holds no adapter", "d": "no JSON", "e": "no numbers"}
    for file, words in faults.items():
        with pytest.raises(ModelError, match=words):
            import_model(tmp_path / f"{file}.safetensors", tmp_path / "in", base=base)


def test_what_cannot_be_written_so_is_said(tmp_path):
    base = based("mmdit", tmp_path / "base")
    adapter = tuned(base, tmp_path / "tuned", dora=True)
    with pytest.raises(ModelError, match="DoRA"):
        export_model(adapter, "kohya", tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="a whole model, not an adapter"):
        export_model(base, "diffusers", tmp_path / "a")
    with pytest.raises(InputError, match="--base MODEL"):
        import_model(written(tuned(base, tmp_path / "plain"), "kohya", tmp_path), tmp_path / "in")


def test_rows_of_different_adapters_are_guided_each_by_its_own(tmp_path):
    base = based("mmdit", tmp_path / "base")
    model = open_model(tuned(base, tmp_path / "tuned"))
    settings = FAMILY.settings(steps=2, guidance_scale=3.0)
    requests = [Request("a red dog", 5, settings, adapter) for adapter in ("default", "base")]
    together = [answer.data.tobytes() for answer in Engine(model).generate(requests)]
    alone = [Engine(model).generate([request])[0].data.tobytes() for request in requests]
    assert together == alone
    assert together[0] != together[1]


def test_an_adapters_folder_keeps_how_to_sample(tmp_path):
    base = based("dit", tmp_path / "base")
    model = open_model(base)
    attach(model.net, FAMILY.blocks(model.net), LoraConfig(rank=2))
    (tmp_path / "tuned").mkdir()
    save_adapter(Model(FAMILY, model.config, model.net, generation={"steps": 7}), tmp_path / "tuned", base)
    assert open_model(tmp_path / "tuned").generation == {"steps": 7}
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(ModelError, match="is not here"):
        open_model(tmp_path / "tuned")
