import pytest
import torch

from makar.train.validate import validation_loss
from tests.contract.support import ALL, CASES, fresh


@pytest.mark.parametrize(("name", "objective"), CASES, ids=map("-".join, CASES))
def test_any_family_has_a_validation_loss(name, objective):
    found, model = ALL[name], fresh(name)
    model.net.train()
    losses = [
        validation_loss(model, found.objectives[objective](), found.tiny()[1], batches=2, batch_size=8, seed=seed)
        for seed in (1, 1)
    ]
    assert losses[0] == losses[1]
    assert any(label.endswith("loss") for label in losses[0])
    assert model.net.training
    assert all(p.grad is None for p in model.net.parameters())


def test_it_is_the_mean_over_all_rows():
    found, model = ALL["toy-vae"], fresh("toy-vae")
    objective, source = found.objectives["elbo"](), found.tiny()[1]
    many = validation_loss(model, objective, source, batches=8, batch_size=8)["loss"]
    one = validation_loss(model, objective, source, batches=1, batch_size=64)["loss"]
    assert many == pytest.approx(one, rel=0.2)  # the rows are the same, their noise is not
    assert torch.is_grad_enabled()
