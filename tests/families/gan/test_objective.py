"""The game's losses against hand-computed ones, its penalties against formulas and finite differences."""

import math

import pytest
import torch
from torch import nn

from makar.core.errors import InputError, RecipeError
from makar.core.random import Rng
from makar.families.gan.objective import LOOK_EVERY, Relativistic, annealed, gamma_of, penalised
from tests.families.gan.conftest import make

ROWS = 6
BATCH = {"images": torch.randn(ROWS, 1, 8, 8), "label": torch.arange(ROWS) % 3}


def rng(step: int = 5) -> Rng:
    return Rng(0, step, torch.arange(ROWS))


class Linear(nn.Module):
    """D(x) = w . x."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64))

    def forward(self, images, labels=None):
        return images.flatten(1) @ self.weight


class Smooth(nn.Module):
    """D(x) = sum of sin(w x), whose gradient depends on x."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, dtype=torch.float64))

    def forward(self, images, labels=None):
        return (images.flatten(1) * self.weight).sin().sum(1)


def test_the_penalty_of_a_linear_critic_is_its_weights_square_whatever_the_picture():
    critic = Linear()
    scores, penalties = penalised(critic, BATCH["images"], None)
    assert torch.equal(scores, critic(BATCH["images"]))
    assert torch.allclose(penalties, critic.weight.square().sum().expand(ROWS))
    (gradient,) = torch.autograd.grad(penalties.sum() / 2, critic.weight)
    assert torch.allclose(gradient, ROWS * critic.weight)  # of gamma / 2 |w|^2, exactly


def test_the_penalty_of_a_curved_critic_and_its_gradient_equal_finite_differences():
    critic, x = Smooth(), torch.randn(2, 1, 8, 8, dtype=torch.float64)

    def penalty():
        gradient = (critic.weight * (x.flatten(1) * critic.weight).cos()).square().sum(1)
        return gradient.sum()

    _, found = penalised(critic, x, None)
    assert torch.allclose(found.sum().double(), penalty(), rtol=1e-5)
    (by_backward,) = torch.autograd.grad(found.sum(), critic.weight)
    for place in (0, 17, 63):
        with torch.no_grad():
            step = torch.zeros(64, dtype=torch.float64)
            step[place] = 1e-5
            critic.weight += step
            above = penalty()
            critic.weight -= 2 * step
            below = penalty()
            critic.weight += step
        assert float(by_backward[place]) == pytest.approx(float((above - below) / 2e-5), rel=1e-4, abs=1e-4)


def test_the_whole_critics_gradient_through_the_penalty_equals_finite_differences():
    model = make(classes=3)
    critic = model.net.critic.double()
    images, labels = BATCH["images"].double(), BATCH["label"]
    weight = critic.from_image.weight

    def penalty():
        x = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x, labels).sum(), x)
        return float(gradient.square().sum())

    _, found = penalised(critic, images, labels)
    (by_backward,) = torch.autograd.grad(found.sum(), weight)
    direction, ends = torch.randn_like(weight), []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            weight += step * direction
        ends.append(penalty())
    above, below = ends
    assert float((by_backward * direction).sum()) == pytest.approx((above - below) / 2e-6, rel=1e-3)


def test_losses_are_those_of_the_paper():
    """By hand: a linear critic, so that the margin is w . (x - g) and both penalties are |w|^2."""
    model = make(classes=0)
    model.net.critic = Linear()
    game = Relativistic(gamma=0.5, anneal_steps=1)
    batch = game.prepare(model, {"images": BATCH["images"]}, rng())
    turn = rng().within("critic")
    loss = game(model, batch, "critic", turn)
    made = model.net.generator(turn.normal("latent", 6)).detach()
    weight = model.net.critic.weight
    margin = (BATCH["images"] - made).flatten(1) @ weight
    wanted = torch.log(1 + torch.exp(-margin)) + 0.5 / 2 * 2 * weight.square().sum()
    assert torch.allclose(loss.sum, wanted.sum(), rtol=1e-5)
    assert torch.allclose(loss.logs["r1"], ROWS * weight.square().sum())
    other = game(model, batch, "generator", turn)
    assert torch.allclose(other.sum, torch.log(1 + torch.exp(margin)).sum(), rtol=1e-5)
    assert float(loss.count) == ROWS


def test_without_gradient_the_penalties_are_the_same():
    model, game = make(), Relativistic()
    batch = game.prepare(model, BATCH, rng())
    with torch.no_grad():
        looked = game(model, batch, "critic", rng())
    assert torch.equal(looked.sum, game(model, batch, "critic", rng()).sum)


def test_the_players_do_not_touch_each_other():
    model, game = make(), Relativistic(augment="scheduled", anneal_steps=1)
    batch = game.prepare(model, BATCH, rng())
    for player, other in (("critic", "generator"), ("generator", "critic")):
        mine = list(model.net.get_submodule(player).parameters())
        game(model, batch, player, rng().within(player)).sum.backward()  # for whoever would listen
        assert sum(float(p.grad.abs().sum()) for p in mine if p.grad is not None) > 0
        assert all(p.grad is None for p in model.net.get_submodule(other).parameters())
        model.net.zero_grad()


@pytest.mark.parametrize("cut", [slice(0, 2), slice(3, 6)])
def test_a_rows_loss_knows_nothing_of_its_batch(cut):
    model, game = make("style"), Relativistic(augment="scheduled", anneal_steps=1)
    batch = game.prepare(model, BATCH, rng())
    alone = [({n: t[r : r + 1] for n, t in batch.items()}, rng().at(torch.tensor([r]))) for r in range(ROWS)]
    whole = [game(model, row, "critic", its).sum for row, its in alone]
    part = game(model, {name: t[cut] for name, t in batch.items()}, "critic", rng().at(torch.arange(ROWS)[cut]))
    assert torch.allclose(part.sum, torch.stack(whole)[cut].sum(), rtol=1e-4)


def test_gamma_follows_size_and_batch_and_falls_along_a_cosine():
    assert gamma_of(32, 256) == pytest.approx(0.025)
    assert gamma_of(64, 256) == pytest.approx(8 * gamma_of(32, 256))
    assert 1 / 3 < gamma_of(32, 512) / 0.005 < 3  # R3GAN's own, for CIFAR-10
    assert gamma_of(32, 64) == pytest.approx(4 * gamma_of(32, 256))
    assert [annealed(2.0, done) for done in (0.0, 0.5, 1.0)] == pytest.approx([20.0, 11.0, 2.0])
    model, game = make(), Relativistic(gamma=1.0, anneal_steps=10, augment="scheduled", augment_most=0.4)
    seen = [game.prepare(model, BATCH, rng(step)) for step in (0, 5, 10, 1000)]
    assert [float(batch["gamma"][0]) for batch in seen] == pytest.approx([10, 5.5, 1, 1])
    assert [float(batch["augment"][0]) for batch in seen] == pytest.approx([0, 0.2, 0.4, 0.4])


@pytest.mark.parametrize("sure", [True, False])
def test_adaptive_augmentation_comes_where_the_critic_is_sure_and_goes_where_it_is_not(sure):
    model, game = make(classes=0), Relativistic(augment="adaptive", augment_most=0.5)

    class Judge(nn.Module):
        def forward(self, images, labels=None):
            real = torch.isin(images.flatten(1)[:, 0], BATCH["images"].flatten(1)[:, 0])
            return (real if sure else ~real).float()

    model.net.critic = Judge()
    model.net.train()
    model.net.augment_share.fill_(0.0 if sure else 0.001)
    before = float(model.net.augment_share)
    game.prepare(model, BATCH, rng(LOOK_EVERY + 1))
    assert float(model.net.augment_share) == before  # only every few steps
    game.prepare(model, BATCH, rng(LOOK_EVERY))
    assert (float(model.net.augment_share) > before) == sure
    model.net.eval()
    kept = float(model.net.augment_share)
    game.prepare(model, BATCH, rng(2 * LOOK_EVERY))
    assert float(model.net.augment_share) == kept  # a look at the model does not change it


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"augment": "adaptiv"}, "did you mean 'adaptive'"),
        ({"gamma": -1.0}, "gamma"),
        ({"gamma": math.nan}, "gamma"),
        ({"anneal_steps": 0}, "anneal_steps"),
        ({"augment_most": 1.5}, "augment_most"),
        ({"mixing": -0.1}, "mixing"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(RecipeError, match=said):
        Relativistic(**options)


@pytest.mark.parametrize(
    "batch",
    [{"images": BATCH["images"]}, BATCH | {"label": torch.tensor([0, 1, -1, 0, 1, 2])}],
    ids=["none", "one missing"],
)
def test_a_missing_label_is_said(batch):
    with pytest.raises(InputError, match="label"):
        Relativistic().prepare(make(), batch, rng())
    Relativistic().prepare(make(classes=0), batch, rng())
