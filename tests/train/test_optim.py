import pytest
import torch
from torch import nn

from makar.core.errors import ModelError
from makar.train.config import Optimizer
from makar.train.optim import load_optimizer_state, make_player, optimizer_state


def net() -> nn.ModuleDict:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    return nn.ModuleDict({"in": nn.Linear(3, 4), "block": block, "out": nn.Linear(4, 2)})


def step(player, seed=0):
    torch.manual_seed(seed)
    for parameter in player.parameters.values():
        parameter.grad = torch.randn_like(parameter)
    for optimizer in player.optimizers:
        optimizer.step()


def player_of(model, name="adamw", path="", **more):
    return make_player(model, path, [model["block"]], Optimizer(name=name, **more), torch.float32)


def test_muon_takes_the_matrices_of_the_blocks_and_nothing_else():
    model = net()
    muon, adamw = player_of(model, "muon").optimizers
    assert [p.shape for p in muon.param_groups[0]["params"]] == [(4, 4)]
    assert sum(len(group["params"]) for group in adamw.param_groups) == 7
    assert muon.param_groups[0]["params"][0] is model["block"][0].weight


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_only_matrices_decay(name):
    model = net()
    player = player_of(model, name, learning_rate=0.1, weight_decay=0.5)
    before = {n: p.detach().clone() for n, p in player.parameters.items()}
    for parameter in player.parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in player.optimizers:
        optimizer.step()
    for n, p in player.parameters.items():
        assert torch.allclose(p, before[n] * (0.95 if p.ndim == 2 else 1)), n


def test_adamw_equals_the_formula():
    model = nn.ModuleDict({"block": nn.Linear(3, 2, bias=False)})
    player = player_of(model, learning_rate=0.01, weight_decay=0.1, betas=(0.8, 0.9), epsilon=1e-6)
    weight = model["block"].weight
    expected, first, second = weight.detach().double(), 0.0, 0.0
    for t in range(1, 5):
        step(player, seed=t)
        g = weight.grad.double()
        first, second = 0.8 * first + 0.2 * g, 0.9 * second + 0.1 * g * g
        expected = expected * (1 - 0.01 * 0.1)
        expected = expected - 0.01 * (first / (1 - 0.8**t)) / ((second / (1 - 0.9**t)).sqrt() + 1e-6)
    assert torch.allclose(weight.double(), expected, atol=1e-6)


def test_a_player_has_only_its_own_and_frozen_ones_stay_out():
    model = net()
    model["in"].weight.requires_grad_(False)
    assert set(player_of(model, path="out").parameters) == {"out.weight", "out.bias"}
    assert "in.weight" not in player_of(model).parameters
    assert player_of(model, path="out").label("loss") == "out/loss"
    assert player_of(model).label("loss") == "loss"


def test_nothing_to_train_is_said():
    model = net().requires_grad_(False)
    with pytest.raises(ModelError, match="nothing of 'out' can be trained"):
        player_of(model, path="out")


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_memory_goes_into_tensors_and_back(name):
    one, other = net(), net()
    first, second = player_of(one, name), player_of(other, name)
    for seed in range(3):
        step(first, seed)
        step(second, seed)
    kept = {key: value.clone() for key, value in optimizer_state(first).items()}
    step(second, 99)
    other.load_state_dict(one.state_dict())
    load_optimizer_state(second, kept)
    step(first, 5)
    step(second, 5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    load_optimizer_state(second, {})
    assert optimizer_state(second) == {}
