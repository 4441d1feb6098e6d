"""The benchmark of GANs compares equal work: on the same numbers both ways give the same losses' gradients."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import gan
from makar.nets.gan_config import R3ganConfig
from makar.nets.r3gan import Critic
from makar.nets.twice import Convolution

TINY = R3ganConfig(
    sample_size=8, in_channels=1, num_classes=2, block_out_channels=(8, 8), layers_per_block=1, group_width=8
)


def test_both_ways_take_turns(monkeypatch):
    monkeypatch.setattr(gan, "ROWS", 4)
    found = gan.compare(TINY, repeats=1)
    assert set(found) == {"ours", "plain loop", "ratio"}


def test_the_plain_way_has_pytorchs_own_convolutions_and_the_same_numbers():
    torch.manual_seed(0)
    critic, images, labels = Critic(TINY), torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])
    ours = F.softplus(critic(images, labels)).sum()
    with gan.plainly():
        assert Convolution.forward is nn.Conv2d.forward
        theirs = F.softplus(critic(images, labels)).sum()
    assert torch.allclose(ours, theirs)
    assert Convolution.forward is not nn.Conv2d.forward
