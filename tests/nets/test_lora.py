"""Adapters against what their papers' formulas say, worked out by hand."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from makar.core.errors import InputError, RecipeError
from makar.nets.config import DecoderConfig
from makar.nets.decoder import Decoder
from makar.nets.lora import (
    BASE,
    AdaptedLinear,
    active,
    adapted_layers,
    adapter_parameters,
    adapters_of,
    answering,
    attach,
    differing,
    merge,
    plain_state,
    train_only,
    unmerge,
)
from makar.nets.lora_config import LoraConfig

CONFIG = DecoderConfig(
    vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, qkv_bias=True,
    initializer_range=0.3,
)  # fmt: skip
KINDS = {"lora": {}, "rslora": {"rslora": True}, "dora": {"dora": True}, "both": {"rslora": True, "dora": True}}


def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(CONFIG)


def stir(net, name, seed=1):
    """Give an adapter values as if it had learned."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter_parameters(net, name).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def adapted(name="default", seed=1, net=None, **fields) -> Decoder:
    net = net or decoder()
    attach(net, list(net.model.layers), LoraConfig(rank=4, **fields), name)
    stir(net, name, seed)
    return net


@pytest.fixture
def tokens():
    return torch.randint(0, 61, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_adapter_changes_nothing(kind, tokens):
    net = decoder()
    before = net(tokens)
    paths = attach(net, list(net.model.layers), LoraConfig(**KINDS[kind]))
    assert torch.allclose(net(tokens), before, atol=1e-6)
    assert len(paths) == 2 * 7
    assert not any("embed" in path for path in paths)


@pytest.mark.parametrize(("fields", "scale"), [({}, 2.0), ({"alpha": 8.0}, 0.5), ({"alpha": 8.0, "rslora": True}, 2.0)])
def test_the_scale_is_that_of_the_papers(fields, scale):
    assert LoraConfig(rank=16, **fields).scale == scale


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_does_what_the_formula_says(kind):
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    net, x = nn.ModuleDict({"only": layer}), torch.randn(2, 3, 6)
    config = LoraConfig(rank=2, alpha=3.0, **KINDS[kind])
    attach(net, [net], config)
    stir(net, "default")
    found = net["only"]
    a, b = found.adapters["default"].lora_A, found.adapters["default"].lora_B
    weight = layer.weight + 3 / (math.sqrt(2) if config.rslora else 2) * b @ a
    if config.dora:
        magnitude = found.adapters["default"].magnitude
        weight = magnitude[:, None] * weight / weight.norm(dim=1, keepdim=True)
    assert torch.allclose(found(x), F.linear(x, weight, layer.bias), atol=1e-6)
    assert torch.allclose(found.with_adapter("default"), weight, atol=1e-6)


def test_the_length_of_dora_takes_no_gradient():
    """The gradient is that of the formula with the length a constant (section 4.3)."""
    torch.manual_seed(0)
    net, x = nn.ModuleDict({"only": nn.Linear(6, 5)}), torch.randn(4, 6)
    attach(net, [net], LoraConfig(rank=2, alpha=2.0, dora=True))
    stir(net, "default")
    adapter, weight = net["only"].adapters["default"], net["only"].weight.detach()
    leaves = list(adapter.parameters())
    found = torch.autograd.grad(net["only"](x).square().sum(), leaves)
    moved = weight + adapter.lora_B @ adapter.lora_A
    plain = adapter.magnitude[:, None] * moved / moved.norm(dim=1, keepdim=True).detach()
    wanted = torch.autograd.grad(F.linear(x, plain, net["only"].bias).square().sum(), leaves)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_it_is_the_same_and_unmerged_the_old(kind, tokens):
    net = adapted(**KINDS[kind])
    before, beside = copy.deepcopy(plain_state(net)), net(tokens)
    merge(net)
    assert torch.allclose(net(tokens), beside, atol=1e-4)
    assert not torch.equal(
        net.state_dict()["model.layers.0.mlp.up_proj.weight"], before["model.layers.0.mlp.up_proj.weight"]
    )
    unmerge(net)
    for name, tensor in plain_state(net).items():
        assert torch.allclose(tensor, before[name], atol=1e-6), name
    assert torch.allclose(net(tokens), beside, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_net_with_the_merged_tensors_is_the_same(kind, tokens):
    net, plain = adapted(**KINDS[kind]), decoder()
    plain.load_state_dict(plain_state(net, "default"))
    assert torch.allclose(plain(tokens), net(tokens), atol=1e-4)
    plain.load_state_dict(plain_state(net))
    assert torch.equal(plain(tokens), decoder()(tokens))


def test_only_the_adapter_learns():
    net = adapted(targets=("q_proj", "mlp.down_proj"))
    train_only(net, "default")
    learning = {name for name, p in net.named_parameters() if p.requires_grad}
    assert len(learning) == 2 * 2 * 2
    assert all(".adapters.default.lora_" in name for name in learning)
    base = {name: t.clone() for name, t in plain_state(net).items()}
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(torch.zeros(1, 4, dtype=torch.int64)).sum().backward()
    optimizer.step()
    assert all(torch.equal(base[name], t) for name, t in plain_state(net).items())
    assert all(p.grad is None for p in net.parameters() if not p.requires_grad)


def test_rows_have_the_adapters_that_they_ask_for(tokens):
    net = adapted("one", 1)
    adapted("two", 2, net, dora=True, targets=("up_proj", "v_proj"))
    assert list(adapters_of(net)) == ["one", "two"]
    assert active(net) == "two"
    alone = {}
    for name in (BASE, "one", "two"):
        with answering(net, name):
            alone[name] = net(tokens)
            assert active(net) == (None if name == BASE else name)
            assert not differing(net)
    assert torch.equal(alone[BASE], decoder()(tokens))
    assert (alone["one"] - alone["two"]).abs().max() > 0.1
    with answering(net, ["two", BASE, "one"]):
        assert differing(net)
        together = net(tokens)
    for row, name in enumerate(("two", BASE, "one")):
        assert torch.allclose(together[row], alone[name][row], atol=1e-5)
    with answering(net, [None, "two", None]):
        assert torch.equal(net(tokens), alone["two"])
    assert torch.equal(net(tokens), alone["two"])


def test_dropout_is_for_training_alone(tokens):
    net = adapted(dropout=0.5)
    net.eval()
    assert torch.equal(net(tokens), net(tokens))
    net.train()
    assert not torch.equal(net(tokens), net(tokens))


def test_a_copy_has_a_choice_of_its_own(tokens):
    net = adapted()
    twin = copy.deepcopy(net)
    with answering(net, BASE):
        assert active(twin) == "default"
        assert torch.equal(net(tokens), decoder()(tokens))
        assert not torch.allclose(twin(tokens), net(tokens))


def test_weights_keep_their_names_and_their_memory():
    net = decoder()
    before = dict(net.named_parameters())
    attach(net, list(net.model.layers), LoraConfig())
    after = dict(net.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert all(isinstance(layer, nn.Linear) for layer in adapted_layers(net).values())
    assert isinstance(net.model.layers[0].mlp.up_proj, AdaptedLinear)
    assert plain_state(net).keys() == before.keys()


@pytest.mark.parametrize(
    ("fields", "name", "words"),
    [
        ({"targets": ("q_prj",)}, "default", "did you mean 'q_proj'"),
        ({"targets": ("embed_tokens",)}, "default", "no such linear layer"),
        ({}, "a.b", "cannot be the name"),
        ({}, "base", "cannot be the name"),
        ({}, "taken", "cannot be the name"),
    ],
)
def test_what_does_not_fit_is_said(fields, name, words):
    net = adapted("taken")
    with pytest.raises(RecipeError, match=words):
        attach(net, list(net.model.layers), LoraConfig(**fields), name)


def test_an_adapter_that_is_not_there_is_named():
    net = adapted("poet")
    with pytest.raises(InputError, match="did you mean 'poet'"), answering(net, ["poets"]):
        pass
    with pytest.raises(InputError, match="no such adapter"), answering(decoder(), ["poet"]):
        pass
