"""Adapters on disk, against PEFT's own, and in use: several on one base, each row with its own."""

import copy
import json
import random
import shutil

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from makar.codecs.bpe import SPECIAL, train_bpe
from makar.core.errors import InputError, ModelError, UserError
from makar.core.nouns import Model, Request
from makar.core.random import Rng
from makar.engine.adapters import PREFIX, load_adapter, merged, save_adapter
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.families.language.objective import NextToken
from makar.families.language.settings import LanguageSettings
from makar.nets.decoder import Decoder
from makar.nets.lora import BASE, active, adapter_parameters, adapters_of, attach, plain_state, train_only
from makar.nets.lora_config import LoraConfig

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks transformers

SHAPES = {"llama": {}, "qwen3": {"qk_norm": True, "head_dim": 16, "tie_word_embeddings": False}}
KINDS = {
    "lora": {"rank": 4, "alpha": 12.0},
    "rslora": {"rank": 4, "alpha": 6.0, "rslora": True, "targets": ("q_proj", "mlp.up_proj")},
    "dora": {"rank": 3, "dora": True, "dropout": 0.1},
}
TOKENS = torch.randint(0, 250, (2, 9), generator=torch.Generator().manual_seed(0))


def base_folder(path, shape="llama", seed=0):
    codec = train_bpe(["the moon the sea"] * 3, len(SPECIAL) + 256)
    config = LanguageConfig(
        vocab_size=codec.vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.2, **SHAPES[shape],
    )  # fmt: skip
    torch.manual_seed(seed)
    path.mkdir(parents=True)
    FAMILY.folder.save(Model(FAMILY, config, Decoder(config), {"codec": codec}, {"max_tokens": 5}), path)
    return path


def adapted(base, seed=1, name="default", **fields) -> Model:
    """A model with an adapter that seems to have learned."""
    model = open_model(base)
    attach(model.net, FAMILY.blocks(model.net), LoraConfig(**fields), name)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter_parameters(model.net, name).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.net.eval()
    return model


def adapter_folder(path, base, **fields):
    path.mkdir()
    save_adapter(adapted(base, **fields), path, base)
    return path


@pytest.fixture
def base(tmp_path):
    return base_folder(tmp_path / "base")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_peft_opens_what_is_written_here(tmp_path, shape, kind):
    base = base_folder(tmp_path / "base", shape)
    model = adapted(base, **KINDS[kind])
    (tmp_path / "adapter").mkdir()
    save_adapter(model, tmp_path / "adapter", base)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    with torch.no_grad():
        assert torch.allclose(theirs(input_ids=TOKENS).logits, model.net(TOKENS), atol=1e-5)
    assert isinstance(theirs, peft.PeftModelForCausalLM)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_as_with_peft(tmp_path, shape, kind):
    """Loss and gradient of every adapter tensor, by the objective that trains here and the loss that trains there."""
    base = base_folder(tmp_path / "base", shape)
    model = adapted(base, **KINDS[kind] | {"dropout": 0.0})
    (tmp_path / "adapter").mkdir()
    save_adapter(model, tmp_path / "adapter", base)
    train_only(model.net, "default")
    loss = NextToken()(model, {"tokens": TOKENS}, "", Rng(0, 0, torch.arange(2)))
    (loss.sum / loss.count).backward()
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter", is_trainable=True).eval()
    wanted = theirs(input_ids=TOKENS, labels=TOKENS).loss
    wanted.backward()
    assert (loss.sum / loss.count).item() == pytest.approx(wanted.item(), abs=1e-5)
    found = adapter_parameters(model.net, "default")
    there = {name.removeprefix(PREFIX): p for name, p in theirs.named_parameters() if p.requires_grad}
    there = {name.replace(".default", "").removesuffix(".weight"): p for name, p in there.items()}
    assert found.keys() == {name.replace("lora_magnitude_vector", "magnitude") for name in there}
    for name, parameter in there.items():
        ours = found[name.replace("lora_magnitude_vector", "magnitude")]
        assert torch.allclose(ours.grad, parameter.grad, atol=1e-5), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_peft_writes_opens_here(tmp_path, shape, kind):
    base, config = base_folder(tmp_path / "base", shape), LoraConfig(**KINDS[kind])
    torch.manual_seed(0)
    theirs = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(base),
        peft.LoraConfig(
            r=config.rank, lora_alpha=config.alpha, use_rslora=config.rslora, use_dora=config.dora,
            lora_dropout=config.dropout, target_modules=list(config.targets) or "all-linear",
            task_type="CAUSAL_LM", init_lora_weights=False,
        ),
    ).eval()  # fmt: skip
    theirs.save_pretrained(tmp_path / "adapter")
    model = open_model(tmp_path / "adapter")
    assert adapters_of(model.net)["default"].rank == config.rank
    with torch.no_grad():
        assert torch.allclose(model.net.eval()(TOKENS), theirs(input_ids=TOKENS).logits, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_comes_back_as_it_was(tmp_path, base, kind):
    model = adapted(base, **KINDS[kind])
    (tmp_path / "adapter").mkdir()
    save_adapter(model, tmp_path / "adapter", base)
    again = open_model(tmp_path / "adapter")
    assert torch.equal(again.net.eval()(TOKENS), model.net(TOKENS))
    assert again.parts["codec"].hash == model.parts["codec"].hash
    assert again.generation == {"max_tokens": 5}
    (tmp_path / "again").mkdir()
    save_adapter(again, tmp_path / "again", base)
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "again"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_base_and_adapter_move_together(tmp_path):
    base_folder(tmp_path / "runs" / "first" / "model")
    (tmp_path / "runs" / "second").mkdir()
    adapter_folder(tmp_path / "runs" / "second" / "model", tmp_path / "runs" / "first" / "model")
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert active(open_model(tmp_path / "moved" / "second").net) == "default"


def test_a_base_that_is_not_here_is_named(tmp_path, base):
    adapter = adapter_folder(tmp_path / "adapter", base)
    shutil.move(base, tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"belongs to is not here.*base.*makar generate BASE --adapter"):
        open_model(adapter)
    assert active(load_adapter(open_model(tmp_path / "elsewhere"), adapter).net) == "default"


def test_merged_it_is_a_plain_model(tmp_path, base):
    model = adapted(base, **KINDS["dora"])
    plain = merged(model)
    assert not adapters_of(plain.net)
    assert torch.allclose(plain.net(TOKENS), model.net(TOKENS), atol=1e-5)
    assert merged(plain) is plain
    (tmp_path / "merged").mkdir()
    FAMILY.folder.save(plain, tmp_path / "merged")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        assert torch.allclose(theirs(input_ids=TOKENS).logits, model.net(TOKENS), atol=1e-5)


def test_an_adapter_may_stand_on_another(tmp_path, base):
    first = adapter_folder(tmp_path / "first", base)
    below = merged(open_model(first))
    attach(below.net, FAMILY.blocks(below.net), LoraConfig(rank=2))
    (tmp_path / "second").mkdir()
    with torch.no_grad():
        for parameter in adapter_parameters(below.net, "default").values():
            parameter.add_(0.05)
    save_adapter(below, tmp_path / "second", first)
    again = open_model(tmp_path / "second")
    assert torch.allclose(again.net.eval()(TOKENS), below.net.eval()(TOKENS), atol=1e-5)
    assert not torch.allclose(again.net(TOKENS), open_model(first).net.eval()(TOKENS), atol=1e-2)


def test_rows_of_one_batch_answer_with_adapters_of_their_own(tmp_path, base):
    model = open_model(base)
    for seed, (name, kind) in enumerate({"poet": "lora", "critic": "dora"}.items()):
        model = load_adapter(model, adapter_folder(tmp_path / name, base, seed=seed, **KINDS[kind]), name)
    settings = LanguageSettings(temperature=0.7, max_tokens=6, logprobs=0)
    names = ["poet", BASE, "critic", None, "poet"]
    requests = [Request("the moon", row, settings, name) for row, name in enumerate(names)]
    together = Engine(model).generate(requests)
    for request, answer in zip(requests, together, strict=True):
        (alone,) = Engine(model).generate([request])
        assert answer.info["ids"] == alone.info["ids"]
        assert answer.info["logprobs"] == pytest.approx(alone.info["logprobs"], abs=1e-5)
    (plain,) = Engine(open_model(base)).generate([requests[1]])
    assert plain.info["ids"] == together[1].info["ids"]
    (poet,) = Engine(open_model(tmp_path / "poet")).generate([Request("the moon", 0, settings)])
    assert poet.info["ids"] == together[0].info["ids"]
    assert len({tuple(answer.info["logprobs"]) for answer in together[:3]}) == 3
    assert active(model.net) == "critic"
    with pytest.raises(InputError, match="did you mean 'critic'"):
        Engine(model).generate([Request("the", 0, settings, "critics")])


def test_an_adapter_named_by_nobody_takes_its_folders_name(tmp_path, base):
    model = load_adapter(open_model(base), adapter_folder(tmp_path / "one", base))
    load_adapter(model, adapter_folder(tmp_path / "v1.5", base, seed=2))
    assert list(adapters_of(model.net)) == ["default", "v1-5"]


# What is refused --------------------------------------------------------------------------------------------


def other_weights(tmp_path, folder):
    return base_folder(tmp_path / "other", seed=3)


def other_shape(tmp_path, folder):
    return base_folder(tmp_path / "other", "qwen3")


def set_field(**fields):
    def change(tmp_path, folder):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
        return tmp_path / "base"

    return change


def cut(tmp_path, folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    return tmp_path / "base"


def with_tensors(change):
    def work(tmp_path, folder):
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")
        return tmp_path / "base"

    return work


def pickled(tmp_path, folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    return tmp_path / "base"


def not_json(tmp_path, folder):
    (folder / "adapter_config.json").write_text("{")
    return tmp_path / "base"


Q = "base_model.model.model.layers.0.self_attn.q_proj"
REFUSED = {
    "other weights": (other_weights, "of another base: the weights differ"),
    "other shape": (other_shape, r"of another base: .*k_proj.*fits here"),
    "another kind": (set_field(peft_type="IA3"), "another kind of adapter"),
    "biases": (set_field(bias="all"), "'bias' is not built here"),
    "ranks": (set_field(rank_pattern={"q_proj": 2}), "'rank_pattern' is not built here"),
    "pissa": (set_field(init_lora_weights="pissa"), "'init_lora_weights' is not built here"),
    "unknown": (set_field(use_novelty=True), "'use_novelty' is not built here"),
    "rank": (set_field(r=0), "greater than 0"),
    "other rank": (set_field(r=5), "of another base"),
    "cut": (cut, "tensor file is damaged"),
    "empty": (with_tensors(dict.clear), "the adapter is empty"),
    "half": (with_tensors(lambda t: t.pop(f"{Q}.lora_B.weight")), "lora_B is None"),
    "embedding": (
        with_tensors(lambda t: t.update({"base_model.model.model.embed_tokens.weight": torch.zeros(2)})),
        "no part of such an adapter",
    ),
    "more layers": (
        with_tensors(lambda t: t.update({Q.replace(".0.", ".9.") + ".lora_A.weight": torch.zeros(4, 32)})),
        "no such layer here",
    ),
    "pickled": (pickled, "a pickle can run any program"),
    "not json": (not_json, "not valid JSON"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line_and_changes_nothing(tmp_path, base, case):
    change, words = REFUSED[case]
    folder = adapter_folder(tmp_path / "adapter", base, **KINDS["lora"])
    model = open_model(change(tmp_path, folder))
    before = plain_state(model.net)
    with pytest.raises(ModelError, match=words) as caught:
        load_adapter(model, folder)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert not adapters_of(model.net)
    assert model.net.state_dict().keys() == before.keys()


def test_adapters_that_are_each_others_base_are_refused(tmp_path, base):
    one, other = (adapter_folder(tmp_path / name, base) for name in ("one", "other"))
    for folder, below in ((one, other), (other, one)):
        save_file(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.safetensors")
        set_field(base_model_name_or_path=str(below))(tmp_path, folder)
    with pytest.raises(ModelError, match="each other's base"):
        open_model(one)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_damaged_files_are_refused_or_read(tmp_path, base, file):
    """Cut, flipped and swollen: a line for the reader, never a traceback, and the net as it was where it is refused."""
    folder, model = adapter_folder(tmp_path / "adapter", base, **KINDS["dora"]), open_model(base)
    whole, chance, said = (folder / file).read_bytes(), random.Random(0), []
    for _ in range(120):
        data = bytearray(whole)
        place = chance.randrange(min(len(data), 3000))
        match chance.randrange(3):
            case 0:
                del data[place:]
            case 1:
                data[place] ^= 1 << chance.randrange(8)
            case 2:
                data[place:place] = chance.randbytes(4)
        (folder / file).write_bytes(data)
        twin = copy.deepcopy(model)
        try:
            load_adapter(twin, folder)
        except UserError as fault:
            said.append((str(fault), list(adapters_of(twin.net))))
    assert len(said) > 60
    assert not any("\n" in line or attached for line, attached in said)
