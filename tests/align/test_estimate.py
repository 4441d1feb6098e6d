"""The arithmetic of policy gradients: cases with known answers."""

import pytest
import torch

from makar.align.estimate import (
    KL,
    adapted,
    clipped_surrogate,
    flat_groups,
    gae,
    group_relative,
    leave_one_out,
    masked_mean,
    whiten,
)
from makar.align.policy import grpo, ppo
from makar.align.score import log_prob_of
from makar.align.table import check_options
from makar.align.value import attach_value_head, foreseen
from makar.core.errors import RecipeError
from tests.align.support import answers, rng, run, tiny

torch.set_num_threads(1)


def test_gae_is_the_sum_it_is_defined_by():
    torch.manual_seed(0)
    rewards, values = torch.randn(5, 9), torch.randn(5, 9)
    start, length = torch.tensor([0, 1, 2, 0, 4]), torch.tensor([9, 4, 1, 6, 5])
    places = torch.arange(9)[None]
    mask = (places >= start[:, None]) & (places < (start + length)[:, None])
    advantages, returns = gae(rewards, values, mask, discount=0.9, trace=0.8)
    for row in range(5):
        first, end = int(start[row]), int(start[row] + length[row])
        for t in range(first, end):
            wanted = 0.0
            for k in range(t, end):
                after = float(values[row, k + 1]) if k + 1 < end else 0.0
                wanted += (0.9 * 0.8) ** (k - t) * (float(rewards[row, k]) + 0.9 * after - float(values[row, k]))
            assert float(advantages[row, t]) == pytest.approx(wanted, abs=1e-5)
            assert float(returns[row, t]) == pytest.approx(wanted + float(values[row, t]), abs=1e-5)
    assert not advantages[~mask].any()


def test_gae_at_its_ends():
    """With trace 1 the return is the sum of what follows; with trace 0 the advantage is one step's surprise."""
    rewards, values, mask = torch.randn(3, 6), torch.randn(3, 6), torch.ones(3, 6, dtype=torch.bool)
    _, returns = gae(rewards, values, mask, discount=1.0, trace=1.0)
    torch.testing.assert_close(returns, rewards.flip(1).cumsum(1).flip(1))
    advantages, _ = gae(rewards, values, mask, discount=1.0, trace=0.0)
    torch.testing.assert_close(advantages[:, :-1], rewards[:, :-1] + values[:, 1:] - values[:, :-1])
    assert torch.equal(gae(rewards, rewards.flip(1).cumsum(1).flip(1), mask)[0].abs() < 1e-5, mask)


def test_estimates_of_the_divergence():
    """k1 and k3 have the true mean; k2 and k3 are never negative; all are 0 where nothing differs."""
    torch.manual_seed(1)
    p, q = torch.randn(6).log_softmax(0), torch.randn(6).log_softmax(0)
    gain, truth = p - q, float((p.exp() * (p - q)).sum())
    means = {name: float((p.exp() * estimate(gain)).sum()) for name, estimate in KL.items()}
    assert means["k1"] == pytest.approx(truth, abs=1e-6)
    assert means["k3"] == pytest.approx(truth, abs=1e-6)
    assert (KL["k2"](gain) >= 0).all()
    assert (KL["k3"](gain) >= 0).all()
    assert all(float(estimate(torch.zeros(1))) == 0 for estimate in KL.values())


def test_advantages_within_groups():
    rewards = torch.tensor([1.0, 3.0, 5.0, 5.0, 2.0, 2.0])
    assert leave_one_out(rewards, 2).tolist() == [-2.0, 2.0, 0.0, 0.0, 0.0, 0.0]
    assert group_relative(rewards, 2, normalise=False).tolist() == [-1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert group_relative(rewards, 2)[:2].tolist() == pytest.approx([-0.7071, 0.7071], abs=1e-3)
    assert flat_groups(rewards, 2).tolist() == [False, True, True]
    for value in torch.rand(50):
        assert not group_relative(value.expand(7).clone(), 7).any()
        assert not leave_one_out(value.expand(7).clone(), 7).any()


def test_whitened_values_have_mean_0_and_variance_1():
    values, mask = 3 + 5 * torch.randn(4, 50), torch.rand(4, 50) < 0.5
    white = whiten(values, mask)
    assert float(masked_mean(white, mask)) == pytest.approx(0, abs=1e-5)
    assert float(masked_mean(white**2, mask)) == pytest.approx(1, abs=1e-4)


def test_clipping_stops_the_gradient_only_where_it_would_go_on():
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.25], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    loss, clipped = clipped_surrogate(ratio.log(), advantages, 0.2, 0.28)
    loss.sum().backward()
    assert ratio.grad.tolist() == pytest.approx([0.0, 1.0, -1.0, 0.0, -1.0])
    assert clipped.tolist() == [True, False, False, True, False]


def test_the_weight_of_the_divergence_follows_its_target():
    assert adapted(0.1, 6.0, 6.0, 64) == 0.1
    assert adapted(0.1, 60.0, 6.0, 100, 1000) == pytest.approx(0.102)
    assert adapted(0.1, 0.0, 6.0, 100, 1000) == pytest.approx(0.098)


def old_of(model, rows):
    with torch.no_grad():
        return log_prob_of(model)(model, rows, rng(len(rows["tokens"])))[0]


def test_k1_in_a_loss_moves_nothing_and_is_refused_with_the_fix():
    """The exact mean of each estimate's gradient, over a policy of four parts that has left its reference."""
    logits = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()
    now = logits.log_softmax(0)
    true = torch.autograd.grad((now.exp() * (now - reference)).sum(), logits, retain_graph=True)[0]
    means = {}
    for kind in ("k1", "k2"):
        sampled = (now.exp().detach() * KL[kind](now - reference)).sum()
        means[kind] = torch.autograd.grad(sampled, logits, retain_graph=True)[0]
    assert means["k1"].abs().max() < 1e-12
    assert torch.allclose(means["k2"], true)
    with pytest.raises(RecipeError, match="k1 in a loss .*objective.name = 'rloo', where k1 is part of the reward"):
        check_options("grpo", {"kl": "k1", "kl_weight": 0.04})
    check_options("grpo", {"kl": "k1"})
    check_options("grpo", {"kl": "k3", "kl_weight": 0.04})


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant"])
def test_at_ratio_one_the_gradient_is_the_plain_policy_gradient(aggregate):
    model, rows = tiny(), answers(4)
    advantages = torch.tensor([1.0, -0.5, 2.0, 0.3])
    mask = rows["loss_mask"][:, 1:]
    old = old_of(model, rows)
    batch = rows | {"old_log_probs": old, "advantages": advantages[:, None].expand_as(old)}
    _, logs, found = run(grpo(aggregate=aggregate, max_parts=7), model, batch)
    weight = {
        "token": mask / mask.sum(),
        "sequence": mask / mask.sum(1, keepdim=True) / 4,
        "constant": mask / 7 / 4,
    }[aggregate]
    model.net.zero_grad()
    log_probs, _ = log_prob_of(model)(model, rows, rng(4))
    (-(log_probs * weight * advantages[:, None]).sum()).backward()
    for name, parameter in model.net.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)
    assert logs["clipped"] == 0
    assert logs["length"] == pytest.approx(float(mask.sum() / 4))
    assert logs["entropy"] == pytest.approx(float(-(old * mask).sum() / mask.sum()), rel=1e-5)


def test_ppo_teaches_its_value_head_and_its_policy():
    model, rows = tiny(), answers(4)
    head = attach_value_head(model.net)
    torch.nn.init.normal_(head.weight)
    old = old_of(model, rows)
    values = foreseen(model, rows)
    batch = rows | {
        "old_log_probs": old,
        "advantages": torch.zeros_like(old),
        "old_values": values,
        "returns": values + 0.1,
    }
    value, logs, gradients = run(ppo(value_weight=0.5), model, batch)
    assert logs["value_error"] == pytest.approx(0.005, abs=1e-5)
    assert value == pytest.approx(0.0025, abs=1e-5)
    assert float(gradients["value_head.bias"][0]) == pytest.approx(-0.05, abs=1e-4)
    parts = run(ppo(value_weight=0.5), model, batch, 1)
    assert parts[1] == pytest.approx(logs, rel=1e-4, abs=1e-5)
