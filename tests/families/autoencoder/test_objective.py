"""What the objective asks for: by hand, with each bottleneck, with a feature net and with a critic."""

import pytest
import torch
from safetensors.torch import save_file

from makar.core.errors import ModelError, RecipeError
from makar.core.nouns import Model
from makar.core.random import Rng
from makar.data.table import TensorSource
from makar.families.autoencoder.config import AutoencoderConfig
from makar.families.autoencoder.family import FAMILY, tiny
from makar.families.autoencoder.objective import Reconstruct
from makar.families.autoencoder.perceptual import feature_layers, features, perceptual
from makar.train.loop import fit
from makar.train.metrics import read_metrics
from makar.train.validate import validation_loss
from tests.contract.support import Killed, equal_weights, killer, losses, settings
from tests.families.autoencoder.conftest import NECKS, make

CRITIC = {"critic": {"block_out_channels": (8, 8)}}


def batch(rows=4):
    return {"images": tiny()[1].columns["images"][:rows]}


def stream(rows=4, step=0):
    return Rng(0, step, torch.arange(rows))


def loss_of(model, objective, player="", step=0):
    rng = stream(step=step)
    return objective(model, objective.prepare(model, batch(), rng), player, rng)


def test_the_gaussian_s_loss_by_hand():
    model, images = make(), batch()["images"]
    found = loss_of(model, Reconstruct(kl=0.01))
    posterior = model.net.encode(images)
    again = model.net.decode(posterior.draw(stream().normal("posterior", *posterior.mean.shape[1:])))
    wanted = (again - images).abs().flatten(1).mean(1) + 0.01 * posterior.divergence() / 64
    torch.testing.assert_close(found.sum, wanted.sum())
    assert float(found.count) == 4


@pytest.mark.parametrize("neck", NECKS)
def test_every_bottleneck_learns(tmp_path, neck):
    model, source = make(neck), TensorSource(batch(8), seed=0)
    before = validation_loss(model, Reconstruct(), source, batches=1, batch_size=8)["l1"]
    fit(model, source, Reconstruct(), settings(60), seed=0, folder=tmp_path)
    after = validation_loss(model, Reconstruct(), source, batches=1, batch_size=8)["l1"]
    assert after < 0.8 * before


def test_what_codes_cost():
    model = make("vq").net.train()
    images = batch()["images"]
    whole = make("vq")
    whole.net.train()
    rng = stream()
    Reconstruct().prepare(whole, batch(), rng)
    latents = whole.net.encode(images)
    found = whole.net.quantized(latents)
    l1 = (whole.net.decode(found.values) - images).abs().flatten(1).mean(1)
    loss = Reconstruct(commitment=0.5)(whole, batch(), "", rng)
    torch.testing.assert_close(loss.sum, (l1 + 0.5 * found.commitment).sum())
    assert not torch.equal(whole.net.quantize.codebook, model.quantize.codebook)


def test_a_codebook_moves_in_training_alone():
    model = make("vq")
    model.net.eval()
    book = model.net.quantize.codebook.clone()
    loss_of(model, Reconstruct())
    assert torch.equal(model.net.quantize.codebook, book)
    model.net.train()
    loss_of(model, Reconstruct())
    assert not torch.equal(model.net.quantize.codebook, book)


@pytest.mark.parametrize("neck", ["vq", "lfq"])
def test_killed_and_resumed_equals_undisturbed(tmp_path, neck):
    """The codebook and its averages too, with a critic that steps in between: they are in the checkpoint."""

    def run(folder, seed=0, watches=()):
        model, objective = make(neck, seed, **CRITIC), Reconstruct(adversary=0.1, adversary_start=4)
        source = TensorSource(batch(8), seed=0)
        fit(model, source, objective, settings(12, ema_halflife=4), seed=0, folder=folder, watches=watches)
        return model, read_metrics(folder / "metrics.jsonl")

    model, lines = run(tmp_path / "whole")
    for at in (3, 8):
        with pytest.raises(Killed):
            run(tmp_path / "killed", watches=[killer(at)])
    again, resumed = run(tmp_path / "killed", seed=1)
    assert losses(resumed) == losses(lines)
    assert equal_weights(again, model)


@pytest.mark.parametrize("neck", ["vq", "lfq"])
def test_accumulation_is_exact(tmp_path, neck):
    """What is to be known of the batch is known of all of it, however it is cut."""
    found = []
    for cut in (None, 3):
        config = settings(3, micro_batch_size=cut, batch_size=8)
        fit(make(neck), TensorSource(batch(8), seed=0), Reconstruct(), config, seed=0, folder=tmp_path / str(cut))
        found.append([line["loss"] for line in read_metrics(tmp_path / str(cut) / "metrics.jsonl")])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_two_players_each_move_their_own():
    model, objective = make(**CRITIC), Reconstruct(adversary=0.5, adversary_start=3)
    model.net.train()
    assert objective.players == ("model", "critic")
    parts = {name: list(model.net.get_submodule(name).parameters()) for name in objective.players}
    for player in objective.players:
        loss_of(model, objective, player, step=3).sum.backward(inputs=parts[player])
        assert any(p.grad is not None and bool(p.grad.any()) for p in parts[player])
        model.net.zero_grad()
    early, late = (loss_of(model, objective, "model", step=step).logs for step in (2, 3))
    assert "doubt" not in early
    assert "doubt" in late


def test_the_autoencoder_keeps_nothing_for_a_turn_in_which_it_learns_nothing():
    model, objective, kept = make(**CRITIC), Reconstruct(adversary=0.5), []
    model.net.train()
    model.net.model.decoder.register_forward_hook(lambda net, given, made: kept.append(made.requires_grad))
    loss_of(model, objective, "critic").sum.backward()
    assert all(parameter.grad is None for parameter in model.net.model.parameters())
    loss_of(model, objective, "model")
    assert kept == [False, True]


def test_a_critic_is_not_judged_in_validation():
    model, objective = make(**CRITIC), Reconstruct(adversary=0.5)
    found = validation_loss(model, objective, TensorSource(batch(8), seed=0), batches=1, batch_size=4)
    assert found["critic/loss"] == 0
    assert "model/doubt" not in found


@pytest.mark.parametrize(
    ("more", "options"), [({}, {"adversary": 0.1}), (CRITIC, {})], ids=["a price alone", "a critic alone"]
)
def test_a_critic_and_its_price_go_together(more, options):
    with pytest.raises(RecipeError, match="go together"):
        loss_of(make(**more), Reconstruct(**options))


def test_what_comes_back_has_the_channels_of_what_was_given():
    net = {"sample_size": 8, "in_channels": 3, "out_channels": 1, "block_out_channels": (8, 8)}
    model = Model(FAMILY, config := AutoencoderConfig.model_validate({"net": net}), FAMILY.build(config))
    with pytest.raises(RecipeError, match=r"model\.net\.out_channels: pictures come back with other channels"):
        Reconstruct().prepare(model, {"images": torch.zeros(2, 3, 8, 8)}, stream(2))


def test_prices_that_make_no_sense_are_refused():
    with pytest.raises(RecipeError, match="not below 0"):
        Reconstruct(kl=-1.0)
    with pytest.raises(RecipeError, match="go together"):
        Reconstruct(perceptual=1.0)


def stack(place, first=3):
    torch.manual_seed(0)
    shapes = {0: (4, first), 2: (4, 4), 5: (6, 4)}
    weights = {f"features.{at}.weight": torch.randn(*shape, 3, 3) * 0.3 for at, shape in shapes.items()}
    biases = {f"features.{at}.bias": torch.randn(shape[0]) for at, shape in shapes.items()}
    save_file({**weights, **biases, "classifier.0.weight": torch.randn(2, 2)}, place)
    return str(place)


def test_a_feature_net_is_read_by_its_names(tmp_path):
    """A gap in the numbers is a pooling: two maps, the second of half the resolution."""
    layers = feature_layers(stack(tmp_path / "net.safetensors"))
    assert [halved for _, _, halved in layers] == [False, False, True]
    images = torch.rand(2, 3, 8, 8)
    maps = features(images, layers)
    assert [tuple(each.shape[1:]) for each in maps] == [(4, 8, 8), (6, 4, 4)]
    lengths = maps[0].norm(dim=1)
    assert torch.all((lengths - 1).abs().lt(1e-5) | lengths.eq(0))


def test_perceptual_distance_is_a_distance(tmp_path):
    path, images = stack(tmp_path / "net.safetensors"), torch.rand(2, 1, 8, 8)
    again = (images + 0.2 * torch.randn_like(images)).requires_grad_()
    far, further = perceptual(images, again, path), perceptual(images, images.flip(-1), path)
    assert torch.equal(perceptual(images, images, path), torch.zeros(2))
    assert torch.all(far > 0)
    assert torch.all(further > 0)
    far.sum().backward()
    assert bool(again.grad.any())
    found = loss_of(make(), Reconstruct(perceptual=0.5, features=path))
    plain = loss_of(make(), Reconstruct())
    torch.testing.assert_close(found.sum, plain.sum + 0.5 * found.logs["perceptual"])


def test_a_file_that_is_no_feature_net_is_refused(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="no stack of convolutions"):
        Reconstruct(perceptual=1.0, features=str(tmp_path / "other.safetensors"))
    with pytest.raises(ModelError, match="takes no colours"):
        feature_layers(stack(tmp_path / "gray.safetensors", first=1))


def test_the_family_s_tiny_is_whole():
    assert FAMILY.objectives["reconstruct"]().players == ("",)
