"""A game through the real trainer: what has a history is in the checkpoint, and learning is seen in the pictures."""

import pytest
import torch

from makar.core.nouns import Model
from makar.data.table import TensorSource
from makar.families.gan.config import GanConfig
from makar.families.gan.family import FAMILY
from makar.families.gan.objective import Relativistic
from makar.nets.gan_config import R3ganConfig
from makar.train.config import Optimizer, TrainConfig
from makar.train.loop import fit
from makar.train.session import Periodic


class Killed(Exception):
    """Stands for a kill."""


def killer(step, model):
    raise Killed


def fresh(seed=0):
    config, source = FAMILY.tiny()
    torch.manual_seed(seed)
    return Model(FAMILY, config, FAMILY.build(config)), source


def train(folder, steps=15, seed=0, watches=(), **options):
    model, source = fresh(seed)
    optimizer = Optimizer(learning_rate=5e-3, weight_decay=0.0, betas=(0.0, 0.99))
    config = TrainConfig(steps=steps, batch_size=16, optimizer=optimizer, checkpoint_steps=7, compile="off")
    fit(model, source, Relativistic(**options), config, seed=0, folder=folder, watches=watches)
    return model


def test_an_adaptive_share_survives_a_kill_to_the_bit(tmp_path):
    options = {"augment": "adaptive", "augment_most": 0.5}
    whole = train(tmp_path / "whole", **options)
    with pytest.raises(Killed):
        train(tmp_path / "killed", watches=[Periodic("killer", killer, 11)], **options)
    again = train(tmp_path / "killed", seed=1, **options)
    assert torch.equal(again.net.augment_share, whole.net.augment_share)
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, again.net.state_dict()[name]), name


def test_it_learns_what_two_classes_look_like(tmp_path):
    """One is dark, the other bright: how far made pictures are from what their class looks like, root mean square."""
    net = R3ganConfig(
        sample_size=4, in_channels=1, num_classes=2, block_out_channels=(16,), layers_per_block=1, group_width=8,
        latent_size=8,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Model(FAMILY, GanConfig(net=net), FAMILY.build(GanConfig(net=net)))
    real = torch.tensor([-0.8, 0.8])[:, None, None, None].expand(2, 1, 4, 4)

    def far():
        latents, labels = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2
        with torch.no_grad():
            return float((model.net.generator(latents, labels) - real[labels]).square().mean().sqrt())

    before, labels = far(), torch.arange(16) % 2
    source = TensorSource({"images": real[labels], "label": labels}, seed=0)
    optimizer = Optimizer(learning_rate=1e-2, weight_decay=0.0, betas=(0.0, 0.99))
    config = TrainConfig(steps=40, batch_size=16, optimizer=optimizer, compile="off")
    fit(model, source, Relativistic(gamma=0.3, anneal_steps=10), config, seed=0, folder=tmp_path)
    assert far() < 0.4 < 1 < before


@pytest.mark.slow
def test_made_pictures_become_like_the_real_ones(tmp_path):
    """Stripes lie or stand, at four places each: how far made pictures of a class are from the nearest of its four."""
    real = FAMILY.tiny()[1].columns["images"]

    def far(model):
        latents, labels = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2
        with torch.no_grad():
            made = model.net.generator(latents, labels).flatten(1)
        nearest = [torch.cdist(made[labels == c], real[4 * c : 4 * c + 4].flatten(1)).min(1).values for c in (0, 1)]
        return float(torch.cat(nearest).mean())

    assert far(train(tmp_path, steps=120, gamma=0.1, anneal_steps=40)) < 0.5 * far(fresh()[0])
