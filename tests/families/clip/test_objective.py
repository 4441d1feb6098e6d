"""The losses have known values, and accumulation and processes change nothing."""

import math

import pytest
import torch

from makar.core.errors import RecipeError
from makar.core.random import Rng
from makar.families.clip import objective as at
from makar.families.clip.family import FAMILY
from tests.families.clip.support import CAPTIONS, rows, tiny

SIX = [*CAPTIONS[:3], "a cat", "two dogs on the beach", "an apple in space"]
WAY = pytest.mark.parametrize(("kind", "name"), [("clip", "softmax"), ("siglip", "softmax"), ("siglip", "sigmoid")])


def step(model, name, size):
    """Gradient, loss, count and logs over all rows, so many at once."""
    objective, batch = FAMILY.objectives[name](), rows(model, SIX)
    whole = objective.prepare(model, batch, Rng(0, 0, torch.arange(6)))
    model.net.zero_grad()
    totals = {"sum": 0.0, "count": 0.0}
    for start in range(0, 6, size):
        micro = {key: tensor[start : start + size] for key, tensor in whole.items()}
        loss = objective(model, micro, "", Rng(0, 0, torch.arange(start, min(6, start + size))))
        loss.sum.backward()
        for key, value in {"sum": loss.sum, "count": loss.count, **loss.logs}.items():
            totals[key] = totals.get(key, 0.0) + float(value.detach())
    return {key: p.grad.clone() for key, p in model.net.named_parameters() if p.grad is not None}, totals


def check_equal(parts, whole):
    """Gradients are equal but for rounding, which depends on how many rows a product has."""
    assert parts.keys() >= whole.keys()  # a bias that cancels has a gradient of 0, or none
    for key, gradient in whole.items():
        assert (parts[key] - gradient).norm() <= 2e-5 * gradient.norm() + 1e-6, key


@WAY
@pytest.mark.parametrize("size", [1, 2, 4])
def test_accumulation_is_exact(kind, name, size):
    model = tiny(kind)
    whole, totals = step(model, name, 6)
    parts, again = step(model, name, size)
    assert again == pytest.approx(totals, rel=1e-5)
    check_equal(parts, whole)


def test_processes_gather_what_the_others_see(monkeypatch):
    """Two processes, one after the other: each is handed what the other's rows would have added."""
    model = tiny()
    whole, _ = step(model, "softmax", 6)
    batch = rows(model, SIX)
    with torch.no_grad():
        features = at.embedded(model, batch["images"], batch["tokens"])

    class Half:
        size = 2

        def __init__(self, rank):
            self.rank = rank

        def share(self, count):
            return range(count * self.rank // 2, count * (self.rank + 1) // 2)

        def sum(self, tensors):
            for mine, all_rows in zip(tensors, features, strict=True):
                assert not mine[list(set(range(6)) - set(self.share(6)))].any()
                torch.testing.assert_close(mine[list(self.share(6))], all_rows[list(self.share(6))])
                mine.copy_(all_rows)

    total = {}
    for rank in (0, 1):
        monkeypatch.setattr(at, "join", lambda rank=rank: Half(rank))
        objective = at.softmax()
        prepared = objective.prepare(model, batch, Rng(0, 0, torch.arange(6)))
        model.net.zero_grad()
        share = Half(rank).share(6)
        micro = {key: tensor[share.start : share.stop] for key, tensor in prepared.items()}
        objective(model, micro, "", Rng(0, 0, torch.arange(3))).sum.backward()
        for key, parameter in model.net.named_parameters():
            if parameter.grad is not None:
                total[key] = total.get(key, 0) + parameter.grad
    check_equal(total, whole)


def test_equal_rows_cost_the_logarithm_of_their_number():
    losses = at.softmax_losses(torch.ones(8, 8), torch.tensor(2.0), torch.zeros(()))
    torch.testing.assert_close(losses, torch.full((8,), math.log(8)))


def test_sigmoid_is_a_binary_question_for_each_pair():
    losses = at.sigmoid_losses(torch.zeros(4, 4), torch.tensor(1.0), torch.tensor(-10.0))
    wrong, right = math.log1p(math.exp(-10)), math.log1p(math.exp(10))
    torch.testing.assert_close(losses, torch.full((4,), right + 3 * wrong))


def test_the_scale_grows_no_further_than_a_hundred():
    scale = torch.tensor(9.0, requires_grad=True)
    at.softmax_losses(torch.rand(4, 4), scale, torch.zeros(())).sum().backward()
    assert float(scale.grad) == 0


def test_clip_has_no_bias_for_the_sigmoid():
    model = tiny("clip")
    with pytest.raises(RecipeError, match="kind='siglip'"):
        at.sigmoid().prepare(model, rows(model), Rng(0, 0, torch.arange(3)))


def test_it_logs_how_often_the_nearest_is_right():
    model = tiny()
    _, totals = step(model, "softmax", 6)
    assert 0 <= totals["right"] <= 6
    assert totals["scale"] / 6 == pytest.approx(float(model.net.logit_scale.detach().exp()), rel=1e-5)
