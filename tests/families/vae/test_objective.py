"""What is minimised: the weights of its parts, and who sees which noise."""

import pytest
import torch

from makar.core.errors import RecipeError
from makar.families.vae.objective import Elbo, Iwae
from tests.families.vae.conftest import NETS, make, rng


def parts(loss):
    return [float(value.detach()) for value in (loss.sum, loss.logs["code"], loss.logs["picture"])]


@pytest.mark.parametrize("net", NETS)
def test_the_loss_is_its_two_sides(net, images):
    model = make(net)
    total, code, picture = parts(Elbo()(model, {"images": images}, "", rng(4)))
    assert code > 0
    assert total == pytest.approx(code + picture, rel=1e-5)
    total, code, picture = parts(Elbo(beta=3.0)(model, {"images": images}, "", rng(4)))
    assert total == pytest.approx(3 * code + picture, rel=1e-5)


def test_annealing_and_free_bits_are_of_training_alone(images):
    model = make()
    objective = Elbo(annealing=10, free_bits=100.0)
    plain = parts(Elbo()(model, {"images": images}, "", rng(4)))
    assert parts(objective(model, {"images": images}, "", rng(4))) == plain
    model.net.train()
    _, _, picture = plain
    total, *rest = parts(objective(model, {"images": images}, "", rng(4)))
    assert rest == plain[1:]
    assert total == pytest.approx(picture + 4 * 3 * 100 / 10, rel=1e-4)  # rows, numbers in a code; a tenth of beta
    later = rng(4, step=50)
    assert parts(Elbo(annealing=10)(model, {"images": images}, "", later)) == parts(
        Elbo()(model, {"images": images}, "", later)
    )


def test_what_costs_less_than_the_free_bits_is_not_made_cheaper(images):
    """Its gradient is that of the picture alone."""
    model, found = make(), []
    model.net.train()
    for objective in (Elbo(free_bits=1000.0), Elbo(beta=0.0), Elbo()):
        objective(model, {"images": images}, "", rng(4)).sum.backward()
        found.append(model.net.codes.encoder[-1].bias.grad.clone())
        model.net.zero_grad()
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_one_importance_sample_is_the_elbo_at_a_draw(images):
    model = make(components=3)  # with a learned prior the ELBO is taken at the draw too
    one = Iwae(samples=1)(model, {"images": images}, "", rng(4))
    assert parts(one) == pytest.approx(parts(Elbo()(model, {"images": images}, "", rng(4))), rel=1e-5)


def test_black_and_white_is_drawn_once_a_step_for_all_rows(images):
    model = make(likelihood="bernoulli")
    batch = {"images": images, "label": torch.arange(4)}
    first, again = (Elbo().prepare(model, batch, rng(4, step=3)) for _ in range(2))
    assert torch.equal(first["images"], again["images"])
    assert set(first["images"].unique().tolist()) == {-1.0, 1.0}
    assert not torch.equal(first["images"], Elbo().prepare(model, batch, rng(4, step=4))["images"])
    assert torch.equal(first["label"], batch["label"])


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda: Elbo(beta=-1.0), "objective.options.beta"),
        (lambda: Elbo(free_bits=-0.1), "objective.options.free_bits"),
        (lambda: Elbo(annealing=-5), "objective.options.annealing"),
        (lambda: Iwae(samples=0), "objective.options.samples"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make_it, said):
    with pytest.raises(RecipeError, match=said):
        make_it()
