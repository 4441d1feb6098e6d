"""The benchmark of text to image compares equal work: on the same numbers both ways have the same loss."""

import pytest
import torch
from diffusers import SD3Transformer2DModel

from benchmarks import text_to_image
from makar.core.nouns import Model
from makar.core.random import Rng
from makar.families.diffusion.config import DiffusionConfig
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.objective import Denoise
from makar.nets.mmdit_config import MMDiTConfig
from tests.nets.test_unet import shaken

TINY = MMDiTConfig(
    sample_size=4, in_channels=1, num_layers=2, num_attention_heads=2, attention_head_dim=8, joint_attention_dim=6,
    pooled_projection_dim=5, empty_tokens=3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(text_to_image, "ROWS", 4)
    monkeypatch.setattr(text_to_image, "LENGTH", 3)


def test_both_ways_take_steps():
    rows = text_to_image.told_rows(TINY)
    text_to_image.ours(DiffusionConfig(net=TINY), rows, "fp32", compiled=False)()
    text_to_image.theirs(TINY, rows, "bf16", compiled=False)()


@torch.no_grad()
def test_both_ways_have_the_same_loss():
    rows, config, rng = text_to_image.told_rows(TINY), DiffusionConfig(net=TINY), Rng(0, 1, torch.arange(4))
    net = shaken(FAMILY.build(config))
    peer = SD3Transformer2DModel(**TINY.model_dump(exclude={"kind", "empty_tokens"})).eval()
    peer.load_state_dict(net.state_dict())
    mine = Denoise()(Model(FAMILY, config, net), rows, "", rng)
    time, noise = torch.sigmoid(rng.normal("time")), rng.normal("noise", 1, 4, 4)
    theirs = text_to_image.flow_loss(peer, rows, time, noise, TINY.empty_tokens)
    torch.testing.assert_close(mine.sum / mine.count, theirs, atol=1e-4, rtol=1e-4)
