"""The objective: its weights, its target, its labels, and what a row's noise depends on."""

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from makar.core.errors import InputError, RecipeError
from makar.core.random import Rng
from makar.families.diffusion.denoise import expected
from makar.families.diffusion.objective import Denoise, DenoisingScore, error, shown_labels, weight
from tests.families.diffusion.conftest import make

ROWS = 6
BATCH = {
    "images": torch.rand(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1,
    "label": torch.arange(ROWS) % 3,
}
RNG = Rng(0, 5, torch.arange(ROWS))
SIGMA = torch.tensor([0.05, 0.3, 0.7, 1.0, 4.0, 20.0])


@pytest.mark.parametrize("path", ["ddpm", "edm", "flow"])
@pytest.mark.parametrize("prediction", ["noise", "data", "velocity"])
@torch.no_grad()
def test_weights_make_every_prediction_s_loss_the_same(path, prediction):
    """With "velocity" and "min_snr" the picture's error is weighed alike, whatever the net says."""
    model, noise = make(path=path, prediction=prediction), torch.randn(ROWS, 1, 8, 8)
    found = error(model, BATCH["images"], noise, SIGMA, BATCH["label"])
    x = BATCH["images"] + SIGMA[:, None, None, None] * noise
    plain = (expected(model, x, SIGMA, BATCH["label"]) - BATCH["images"]).square().flatten(1).mean(1)
    assert torch.allclose(found * weight(model, SIGMA, "velocity"), plain * (1 + SIGMA**-2), rtol=1e-2)
    assert torch.allclose(found * weight(model, SIGMA, "min_snr"), plain * (SIGMA**-2).clamp(max=5), rtol=1e-2)


@pytest.mark.parametrize("prediction", ["noise", "data", "velocity"])
def test_hardly_any_noise_weighs_no_more_than_a_little(prediction):
    """Otherwise one row of a picture's prediction at a noise of 0.01 would count as much as thousands."""
    model = make(prediction=prediction)
    faint = torch.tensor([0.01, 0.05])
    of_picture = weight(model, faint, "velocity") / weight(model, faint, "min_snr") * 5
    assert torch.allclose(of_picture, torch.full((2,), 1 + 0.05**-2))


@pytest.mark.parametrize(
    ("path", "prediction", "of_picture"),
    [
        ("ddpm", "noise", SIGMA**-2),  # the simple loss of arXiv 2006.11239, eq. 14
        ("ddpm", "velocity", 1 + SIGMA**-2),
        ("edm", "velocity", (SIGMA**2 + 0.25) / (SIGMA * 0.5) ** 2),  # lambda of arXiv 2206.00364, table 1
        ("flow", "velocity", (1 + 1 / SIGMA) ** 2),
    ],
)
def test_native_weights_are_the_papers(path, prediction, of_picture):
    model = make(path=path, prediction=prediction)
    velocity = weight(model, SIGMA, "velocity") / (1 + SIGMA**-2)  # of the net's error, in pictures' errors
    assert torch.allclose(weight(model, SIGMA, "native") / velocity, of_picture, rtol=1e-4)


def test_a_net_that_is_right_has_no_loss():
    """Given a picture of one colour, what the net ought to say is known; the loss is its distance from that."""
    model = make(path="ddpm", prediction="noise")
    for parameter in model.net.parameters():
        parameter.data.zero_()
    noise = torch.randn(ROWS, 1, 8, 8)
    found = error(model, BATCH["images"], noise, SIGMA, BATCH["label"])
    assert torch.allclose(found, noise.square().flatten(1).mean(1), rtol=1e-3)


@torch.no_grad()
def test_a_row_s_loss_knows_nothing_of_its_batch(model):
    whole = Denoise()(model, BATCH, "", RNG)
    parts = [
        Denoise()(model, {name: t[rows] for name, t in BATCH.items()}, "", RNG.at(RNG.rows[rows]))
        for rows in (slice(0, 2), slice(2, 6))
    ]
    assert float(sum(part.sum for part in parts)) == pytest.approx(float(whole.sum), rel=1e-5)
    assert sum(part.count for part in parts) == whole.count == ROWS


@torch.no_grad()
def test_labels_are_dropped_in_training_alone(model):
    rng = Rng(0, 0, torch.arange(4000))
    many = {"label": torch.arange(4000) % 3}
    shown = shown_labels(model, many, 0.1, rng)
    assert float((shown == 3).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert torch.equal(shown[shown < 3], many["label"][shown < 3])
    assert torch.equal(Denoise(label_drop=1.0)(model, BATCH, "", RNG).sum, Denoise()(model, BATCH, "", RNG).sum)
    model.net.train()
    assert not torch.equal(Denoise(label_drop=1.0)(model, BATCH, "", RNG).sum, Denoise()(model, BATCH, "", RNG).sum)


def test_a_picture_without_a_label_is_of_no_class(model):
    assert shown_labels(model, {"label": torch.tensor([-1, 2])}, 0.0, RNG).tolist() == [3, 2]
    shape = model.config.net.model_copy(update={"null_class": False})
    bare = dataclasses.replace(model, config=model.config.model_copy(update={"net": shape}))
    with pytest.raises(InputError, match="without a label"):
        Denoise().prepare(bare, {**BATCH, "label": -BATCH["label"]}, RNG)


def test_classes_have_names_or_none():
    with pytest.raises(ValidationError, match="got 2 and 3"):
        make(classes=3, names=("cat", "dog"))


def test_an_unconditional_net_asks_for_no_labels():
    model = make(classes=0)
    assert Denoise()(model, {"images": BATCH["images"]}, "", RNG).sum > 0


def test_missing_labels_and_unknown_options_are_refused(model):
    with pytest.raises(InputError, match="no labels"):
        Denoise().prepare(model, {"images": BATCH["images"]}, RNG)
    with pytest.raises(RecipeError, match="did you mean 'velocity'"):
        Denoise(weighting="velocty")
    with pytest.raises(RecipeError, match="0 to 1"):
        Denoise(label_drop=1.5)


def test_the_score_prefers_what_was_learned(model):
    values, mask = DenoisingScore()(model, BATCH, RNG)
    assert values.shape == mask.shape == (ROWS, 4)
    assert (values < 0).all()


@pytest.mark.parametrize("net", ["unet", "dit"])
@torch.no_grad()
def test_half_precision_changes_little(net):
    model = make(net)
    whole = Denoise()(model, BATCH, "", RNG).sum
    with torch.autocast("cpu", torch.bfloat16):
        half = Denoise()(model, BATCH, "", RNG).sum
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(whole), rel=0.05)
