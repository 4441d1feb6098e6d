import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from makar.core.nouns import Loss, Model
from makar.core.random import key_of
from makar.train.config import Constant, Optimizer, TrainConfig
from makar.train.distributed import World
from makar.train.optim import make_player
from makar.train.step import Record, Setting, train_step
from tests.contract.support import ALL, fresh


class Masked:
    """Mean of w * x over the rows that count: its gradient is known in closed form."""

    players = ("",)

    def __init__(self, seen=None):
        self.seen = seen if seen is not None else []

    def prepare(self, model, batch, rng):
        self.seen.append(("prepare", rng.rows.tolist(), rng.step, torch.is_grad_enabled()))
        return batch | {"twice": 2 * batch["x"]}

    def __call__(self, model, micro, player, rng):
        self.seen.append((player, rng.rows.tolist(), rng.step, torch.initial_seed()))
        value = model.net(micro["twice"]).squeeze(1) * micro["mask"]
        return Loss(value.sum(), micro["mask"].sum(), {"square": value.detach().square().sum()})


def one_step(objective, micro=None, clip=1e9, rows=10, count=None, step=3, world=None):
    """One step of a linear net without bias; returns the net's change and the record."""
    torch.manual_seed(0)
    net = nn.Linear(2, 1, bias=False)
    before = net.weight.detach().clone()
    config = TrainConfig(
        steps=10, batch_size=rows, micro_batch_size=micro, clip_norm=clip, schedule=Constant(warmup=0),
        optimizer=Optimizer(learning_rate=1.0),
    )  # fmt: skip
    player = make_player(net, "", [], config.optimizer, torch.float32)
    player.optimizers[0] = torch.optim.SGD(net.parameters(), lr=1.0, fused=True)
    setting = Setting(Model(ALL["toy-vae"], config, net), objective, [player], config, 7, world or World(), "fp32")
    batch = {"x": torch.arange(2.0 * rows).reshape(rows, 2) / 10, "mask": torch.zeros(rows)}
    batch["mask"][: rows if count is None else count] = 1
    names, vector = train_step(setting, batch, step, (0.0, 1.0))
    return before - net.weight.detach(), Record(step, names, vector, 0.0), batch, before


@pytest.mark.parametrize("micro", [None, 1, 3, 10, 64])
@pytest.mark.parametrize("count", [10, 7, 1])
def test_the_gradient_is_divided_by_the_true_count(micro, count):
    change, record, batch, weight = one_step(Masked(), micro, count=count)
    wanted = (2 * batch["x"] * batch["mask"][:, None]).sum(0) / count
    assert torch.allclose(change[0], wanted, atol=1e-6)
    wishes, (numbers,) = record.read()
    values = (2 * batch["x"] @ weight[0]) * batch["mask"]
    assert wishes == [0.0, 1.0]
    assert numbers["count"] == count
    assert numbers["loss"] == pytest.approx(float(values.sum() / count), abs=1e-6)
    assert numbers["square"] == pytest.approx(float(values.square().sum() / count), abs=1e-6)
    assert numbers["norm"] == pytest.approx(float(wanted.norm()), rel=1e-5)


def test_a_batch_with_nothing_to_learn_from_changes_nothing():
    change, record, _, _ = one_step(Masked(), count=0)
    assert not change.any()
    assert record.read()[1][0]["loss"] == 0


def test_a_long_gradient_is_clipped_to_the_norm_and_a_short_one_left():
    change, record, _, _ = one_step(Masked(), clip=0.5)
    assert float(change.norm()) == pytest.approx(0.5, rel=1e-5)
    assert record.read()[1][0]["norm"] > 0.5
    free, _, _, _ = one_step(Masked())
    loose, _, _, _ = one_step(Masked(), clip=100.0)
    assert torch.equal(free, loose)


class PretendCuda(TorchFunctionMode):
    """The CPU stands for a GPU; copies to it that would make the CPU wait are noted."""

    def __init__(self):
        self.pinned, self.waits, self.copies = [], [], 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.pin_memory:
            self.pinned.append(args[0].clone())
            return self.pinned[-1]
        there = [*args[1:], kwargs.get("device")]
        if any(isinstance(given, torch.device) and given.type == "cuda" for given in there):
            if function is torch.Tensor.to:
                self.copies += 1
                free = kwargs.get("non_blocking", False) and any(args[0] is pinned for pinned in self.pinned)
                self.waits += [] if free else [function]
                args = (args[0], *(torch.device("cpu") if isinstance(a, torch.device) else a for a in args[1:]))
            elif function is torch.tensor:
                self.waits.append(function)
            if "device" in kwargs:
                kwargs["device"] = "cpu"
        return function(*args, **kwargs)


def test_a_gpu_is_handed_everything_without_a_wait(monkeypatch):
    plain = one_step(Masked())[0]
    monkeypatch.setattr(Model, "device", torch.device("cuda"))
    with PretendCuda() as pretence:
        assert torch.equal(one_step(Masked())[0], plain)
    assert pretence.waits == []
    assert pretence.copies == 3, "the two columns, and the wishes"


@pytest.mark.parametrize(("dropout", "equal"), [(0.0, True), (0.5, False)])
def test_smaller_micro_batches_change_what_dropout_draws_and_nothing_else(dropout, equal):
    class Dropping(Masked):
        def __call__(self, model, micro, player, rng):
            return super().__call__(
                model, micro | {"twice": nn.functional.dropout(micro["twice"], dropout)}, player, rng
            )

    whole, cut = (one_step(Dropping(), micro)[0] for micro in (None, 5))
    assert torch.allclose(whole, cut, atol=1e-6) == equal


def test_rows_are_global_and_seeds_follow_them():
    objective = Masked()
    one_step(objective, micro=4, step=3)
    assert objective.seen[0] == ("prepare", list(range(30, 40)), 3, False)
    assert objective.seen[1:] == [
        ("", list(range(30 + a, 30 + b)), 3, seed_of(30 + a)) for a, b in ((0, 4), (4, 8), (8, 10))
    ]


def seed_of(row: int) -> int:
    return key_of(7, 3, row, "")


def test_a_rank_takes_its_contiguous_rows():
    found = [list(World(rank, 3).share(10)) for rank in range(3)]
    assert sum(found, []) == list(range(10))
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_each_player_moves_only_itself():
    model = fresh("toy-gan")
    objective = ALL["toy-gan"].objectives["relativistic"]()
    config = TrainConfig(steps=10, batch_size=8)
    batch = ALL["toy-gan"].tiny()[1].batch(0, 8)
    for path in objective.players:
        only = type(
            "Only", (), {"players": (path,), "prepare": objective.prepare, "__call__": type(objective).__call__}
        )
        before = {n: p.detach().clone() for n, p in model.net.named_parameters()}
        player = make_player(model.net, path, [], config.optimizer, torch.float32)
        train_step(Setting(model, only(), [player], config, 0, World(), "fp32"), batch, 0, (0.0, 0.0))
        for name, parameter in model.net.named_parameters():
            if name.endswith("weight"):  # the critic's last bias cancels in a relativistic loss
                assert torch.equal(parameter, before[name]) != name.startswith(path), name
            assert parameter.grad is None


def test_who_keeps_a_copy_of_the_weights_hears_that_they_moved():
    model = fresh("language")
    objective = ALL["language"].objectives["next_token"]()
    config = TrainConfig(steps=10, batch_size=8)
    player = make_player(model.net, "", ALL["language"].blocks(model.net), config.optimizer, torch.float32)
    before = {name: p._version for name, p in model.net.named_parameters()}
    batch = ALL["language"].tiny()[1].batch(0, 8)
    train_step(Setting(model, objective, [player], config, 0, World(), "fp32"), batch, 0, (0.0, 0.0))
    assert all(p._version > before[name] for name, p in model.net.named_parameters())
