"""The critic of patches."""

import torch

from makar.nets.autoencoder_config import CriticConfig
from makar.nets.critic import PatchCritic


@torch.no_grad()
def test_a_number_for_each_patch_that_knows_no_other_picture():
    torch.manual_seed(0)
    critic = PatchCritic(CriticConfig(block_out_channels=(8, 16)), 3)
    images = torch.rand(3, 3, 16, 16)
    found = critic(images)
    assert found.shape == (3, 4, 4)
    torch.testing.assert_close(critic(images[1:2]), found[1:2])
    assert found.std() > 0
