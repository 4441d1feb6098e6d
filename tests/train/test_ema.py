import pytest
import torch
from torch import nn

from makar.train.ema import RAMP, average_of, averaged, update_average


def test_half_is_left_after_a_halflife():
    net = nn.Linear(2, 2)
    average = average_of(net)
    start = average["weight"].clone()
    with torch.no_grad():
        net.weight.zero_()
    for step in range(10_000, 10_008):
        update_average(average, net, 8.0, step)
    assert torch.allclose(average["weight"], start / 2, atol=1e-6)


def test_early_on_it_follows_the_weights():
    net = nn.Linear(1, 1, bias=False)
    average = average_of(net)
    with torch.no_grad():
        net.weight.fill_(3.0)
    update_average(average, net, 1e6, 0)
    assert float(average["weight"]) == pytest.approx(3.0, abs=1e-4)
    with torch.no_grad():
        net.weight.fill_(4.0)
    update_average(average, net, 1e6, 99)
    assert float(average["weight"]) == pytest.approx(4 - 0.5 ** (1 / (100 * RAMP)), abs=1e-3)


def test_showing_the_average_gives_the_weights_back_to_the_bit():
    net = nn.Linear(5, 5)
    average = average_of(net)
    update_average(average, nn.Linear(5, 5), 2.0, 1000)
    weights, shown = net.weight.detach().clone(), average["weight"].clone()
    with averaged(net, average):
        assert torch.equal(net.weight, shown)
    assert torch.equal(net.weight, weights)
    assert torch.equal(average["weight"], shown)
    with averaged(net, None):
        assert torch.equal(net.weight, weights)
