import pytest
import torch
import torch.nn.functional as F

from makar.nets import cross_entropy
from makar.nets.cross_entropy import IGNORE, summed_nll, token_nll


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(37, 12, generator=generator)
    weight = torch.randn(50, 12, generator=generator)
    targets = torch.randint(0, 50, (37,), generator=generator)
    targets[::5] = IGNORE
    return hidden.requires_grad_(), weight.requires_grad_(), targets


@pytest.mark.parametrize("chunk", [7, 10, 256])
def test_chunks_change_neither_the_sum_nor_its_gradients(problem, chunk, monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK", chunk)
    hidden, weight, targets = problem
    wanted = F.cross_entropy(hidden @ weight.T, targets, reduction="sum", ignore_index=IGNORE)
    slopes = torch.autograd.grad(3 * wanted, (hidden, weight))
    for found in (summed_nll(hidden, weight, targets), token_nll(hidden, weight, targets).sum()):
        assert torch.allclose(found, wanted, rtol=1e-6)
        for ours, theirs in zip(torch.autograd.grad(3 * found, (hidden, weight)), slopes, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(summed_nll(hidden, weight, targets), wanted, rtol=1e-6)


def test_nothing_that_counts_is_no_loss_and_no_gradient(problem):
    hidden, weight, targets = problem
    for loss in (summed_nll, lambda *given: token_nll(*given).sum()):
        found = loss(hidden, weight, torch.full_like(targets, IGNORE))
        assert found == 0
        assert not any(slope.any() for slope in torch.autograd.grad(found, (hidden, weight)))


def test_places_that_do_not_count_are_never_multiplied(problem, monkeypatch):
    hidden, weight, targets = problem
    seen = []
    monkeypatch.setattr(cross_entropy, "chunk_nll", lambda h, w, t: seen.append(len(h)) or torch.zeros(len(h)))
    with torch.no_grad():
        summed_nll(hidden, weight, targets)
    assert sum(seen) == (targets != IGNORE).sum() < len(targets)


def test_a_frozen_matrix_gets_no_gradient_and_costs_no_product(problem):
    hidden, weight, targets = problem
    (wanted,) = torch.autograd.grad(summed_nll(hidden, weight, targets), [hidden])
    loss = summed_nll(hidden, weight.detach(), targets)
    assert loss.grad_fn.saved_tensors[1] is None
    (found,) = torch.autograd.grad(loss, [hidden])
    assert torch.equal(found, wanted)


def test_places_that_do_not_count_have_no_loss(problem):
    hidden, weight, targets = problem
    nll = token_nll(hidden, weight, targets)
    assert not nll[::5].any()
    assert (nll[targets != IGNORE] > 0).all()


def test_autocast_multiplies_in_bfloat16_and_sums_in_float32(problem):
    hidden, weight, targets = problem
    exact = summed_nll(hidden, weight, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rough = summed_nll(hidden, weight, targets)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs() < 0.02 * exact
    assert {g.dtype for g in torch.autograd.grad(rough, (hidden, weight))} == {torch.float32}
