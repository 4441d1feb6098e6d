import pytest
import torch
from torch import nn

from makar.core.errors import InputError
from makar.train.checkpoint import newest
from makar.train.config import TrainConfig
from makar.train.ema import RAMP, SNAPSHOTS, averaged, averages_of, keep_snapshot, power_of, synthesize, update_averages
from makar.train.loop import load_weights
from tests.contract.support import Killed, equal_weights, fresh, killer, settings, train


def config(**more):
    return TrainConfig(steps=100_000, batch_size=1, **more)


def fill(net, value):
    with torch.no_grad():
        net.weight.fill_(value)


def test_half_is_left_after_a_halflife():
    net, halves = nn.Linear(2, 2), config(ema_halflife=8)
    averages = averages_of(net, halves)
    start = averages["average"]["weight"].clone()
    fill(net, 0)
    for step in range(10_000, 10_008):
        update_averages(averages, net, halves, step)
    assert torch.allclose(averages["average"]["weight"], start / 2, atol=1e-6)


def test_early_on_it_follows_the_weights():
    net, slow = nn.Linear(1, 1, bias=False), config(ema_halflife=1e6)
    averages = averages_of(net, slow)
    fill(net, 3)
    update_averages(averages, net, slow, 0)
    assert float(averages["average"]["weight"]) == pytest.approx(3.0, abs=1e-4)
    fill(net, 4)
    update_averages(averages, net, slow, 99)
    assert float(averages["average"]["weight"]) == pytest.approx(4 - 0.5 ** (1 / (100 * RAMP)), abs=1e-3)


@pytest.mark.parametrize(("length", "power"), [(12**-0.5, 0.0), (0.05, 16.97), (0.1, 6.94), (0.25, 0.72)])
def test_a_length_is_the_deviation_of_the_steps_that_its_power_averages(length, power):
    """Of a density (g + 1) t^g on 0 to 1; 16.97 and 6.94 are the paper's."""
    assert power_of(length) == pytest.approx(power, abs=5e-3)
    at = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    weights = at ** power_of(length)
    weights /= weights.sum()
    mean = (weights * at).sum()
    assert float((weights * (at - mean).square()).sum().sqrt()) == pytest.approx(length, rel=1e-4)


def test_averages_of_several_lengths_weigh_each_step_by_its_power():
    """Weights that are 1 at one step and 0 at all others show what that step weighs: (t/T)^(g+1) - ((t-1)/T)^(g+1)."""
    net, several = nn.Linear(1, 1, bias=False), config(ema_lengths=(0.05, 0.2))
    for seen in (1, 7, 20):
        averages = averages_of(net, several)
        for step in range(20):
            fill(net, float(step + 1 == seen))
            update_averages(averages, net, several, step)
        for average, length in zip(averages.values(), (0.05, 0.2), strict=True):
            power = power_of(length) + 1
            wanted = (seen / 20) ** power - ((seen - 1) / 20) ** power
            assert float(average["weight"]) == pytest.approx(wanted, rel=1e-4, abs=1e-12)


def test_showing_the_average_gives_the_weights_back_to_the_bit():
    net, halves = nn.Linear(5, 5), config(ema_halflife=2)
    averages = averages_of(net, halves)
    update_averages(averages, nn.Linear(5, 5), halves, 1000)
    average = averages["average"]
    weights, shown = net.weight.detach().clone(), average["weight"].clone()
    with averaged(net, average):
        assert torch.equal(net.weight, shown)
    assert torch.equal(net.weight, weights)
    assert torch.equal(average["weight"], shown)
    with averaged(net, None):
        assert torch.equal(net.weight, weights)


def test_the_first_length_is_saved_and_all_resume_to_the_bit(tmp_path):
    several = settings(18, ema_lengths=(0.1, 0.2), ema_halflife=5)
    model, _ = train("toy-vae", "elbo", tmp_path / "whole", several)
    with pytest.raises(Killed):
        train("toy-vae", "elbo", tmp_path / "killed", several, watches=[killer(8)])
    train("toy-vae", "elbo", tmp_path / "killed", several, model=fresh("toy-vae", seed=1))
    wanted, found = (newest(tmp_path / which / "checkpoints", print).tensors for which in ("whole", "killed"))
    assert wanted.keys() == found.keys()
    assert {name.partition("/")[0] for name in wanted} == {"net", "average", "average-0.2", "optimizer"}
    assert all(torch.equal(tensor, found[name]) for name, tensor in wanted.items())
    kept = [sorted((tmp_path / which / "averages").iterdir()) for which in ("whole", "killed")]
    assert [file.name for file in kept[0]] == [f"step-{step:08d}.safetensors" for step in range(1, 19)]
    assert [file.read_bytes() for file in kept[0]] == [file.read_bytes() for file in kept[1]]
    saved = fresh("toy-vae")
    load_weights(saved, tmp_path / "whole", 18)
    assert equal_weights(saved, model)
    assert not torch.equal(wanted["average/encoder.0.weight"], wanted["average-0.2/encoder.0.weight"])


def test_another_length_is_made_afterwards(tmp_path):
    """Beside the one that is tracked from the beginning, of weights that walk at random."""
    net, rng = nn.Linear(64, 1, bias=False), torch.Generator().manual_seed(0)
    several = TrainConfig(steps=640, batch_size=1, ema_lengths=(0.05, 0.1))
    other = TrainConfig(steps=640, batch_size=1, ema_lengths=(0.05, 0.07, 0.15))
    kept, tracked = averages_of(net, several), averages_of(net, other)
    for step in range(640):
        net.weight.data.add_(torch.randn(1, 64, generator=rng))
        update_averages(kept, net, several, step)
        update_averages(tracked, net, other, step)
        keep_snapshot(tmp_path, kept, several, step + 1)
    assert len(list((tmp_path / "averages").iterdir())) == SNAPSHOTS
    last = net.weight.detach().clone()
    for length, average, near in zip(other.ema_lengths, tracked.values(), (1e-4, 0.02, 0.05), strict=True):
        synthesize(tmp_path, net, length)
        wanted = average["weight"]
        assert (net.weight - wanted).norm() < near * (last - wanted).norm(), length


def test_what_cannot_be_made_is_said(tmp_path):
    net = fresh("toy-vae").net
    with pytest.raises(InputError, match="ema_lengths"):
        synthesize(tmp_path, net, 0.1)
    with pytest.raises(InputError, match=r"0\.01 to 0\.28"):
        synthesize(tmp_path, net, 0.5)
