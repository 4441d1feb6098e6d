"""Every family keeps the same promises, through the real trainer, engine and folders."""

import json
import math
from pathlib import Path

import pytest
import torch

from makar.core.config import parse
from makar.core.random import Rng
from makar.engine.run import Engine
from makar.train.validate import validation_loss
from tests.contract.support import (
    ALL,
    BATCH,
    CASES,
    Killed,
    equal_weights,
    fresh,
    killer,
    losses,
    requests,
    settings,
    speaking,
    train,
)

FAMILY = pytest.mark.parametrize("name", ALL)
CASE = pytest.mark.parametrize(("name", "objective"), CASES, ids=map("-".join, CASES))
GOLDEN = Path(__file__).with_name("golden.json")


@CASE
def test_150_steps_show_learning(name, objective, tmp_path):
    if len(ALL[name].objectives[objective]().players) > 1:
        pytest.skip(
            "a game's losses need not fall: its samples are looked at, below and in families/gan/test_training.py"
        )
    found = ALL[name]
    model, source, loss = fresh(name), found.tiny()[1], found.objectives[objective]()
    before = validation_loss(model, loss, source, batches=4, batch_size=64)["loss"]
    train(name, objective, tmp_path, settings(150, checkpoint_steps=1000), model=model)
    after = validation_loss(model, loss, source, batches=4, batch_size=64)["loss"]
    assert after < before - 0.2 * abs(before)


@pytest.mark.parametrize("name", ["toy-diffusion", "toy-gan", "toy-vae"])
def test_samples_lie_on_the_circle(name, tmp_path):
    objective = next(iter(ALL[name].objectives))
    config = settings(300, batch_size=64, checkpoint_steps=1000, ema_halflife=20)
    model, _ = train(name, objective, tmp_path, config)
    points = torch.stack([answer.data for answer in Engine(model).generate(requests(name, 256))])
    radius, angle = points.norm(dim=1), torch.atan2(points[:, 1], points[:, 0])
    assert (radius - 1).abs().mean() < 0.2
    assert torch.histc(angle, 4, -math.pi, math.pi).min() > 10  # of 256: every quarter is visited


def test_points_are_named_by_their_words(tmp_path):
    model, _ = train("toy-clip", "softmax", tmp_path, settings(150, checkpoint_steps=1000))
    found = [int(answer.data) for answer in Engine(model).generate(requests("toy-clip", 256))]
    assert sum(word == place // 16 for place, word in enumerate(found)) > 200


@CASE
def test_killed_and_resumed_equals_undisturbed(name, objective, tmp_path):
    config = settings(12, ema_halflife=4)
    model, lines = train(name, objective, tmp_path / "whole", config)
    for at in (3, 8):
        with pytest.raises(Killed):
            train(name, objective, tmp_path / "killed", config, watches=[killer(at)])
    again, resumed = train(name, objective, tmp_path / "killed", config, model=fresh(name, seed=1))
    assert losses(resumed) == losses(lines)
    assert equal_weights(again, model)


@CASE
def test_accumulation_is_exact(name, objective, tmp_path):
    _, whole = train(name, objective, tmp_path / "whole", settings(3))
    _, parts = train(name, objective, tmp_path / "parts", settings(3, micro_batch_size=5))
    for one, other in zip(whole, parts, strict=True):
        for key in (key for key in one if key.endswith(("loss", "norm", "count"))):
            assert other[key] == pytest.approx(one[key], rel=2e-5, abs=1e-7), key


@FAMILY
def test_an_answer_is_repeatable_and_knows_nothing_of_its_batch(name):
    model = speaking(name)
    together = Engine(model).generate(requests(name, 5))
    again = Engine(model).generate(requests(name, 5))
    alone = [Engine(model).generate([request])[0] for request in requests(name, 5)]
    for one, same, other in zip(together, again, alone, strict=True):
        for twin in (same, other):
            if isinstance(one.data, torch.Tensor):
                assert torch.allclose(one.data, twin.data, atol=1e-5)
            else:
                assert one.data == twin.data
            assert (one.reason, one.info.get("ids")) == (twin.reason, twin.info.get("ids"))


@FAMILY
def test_a_folder_gives_back_what_was_saved(name, tmp_path):
    model, (found, folder) = speaking(name), (ALL[name], tmp_path / "model")
    folder.mkdir()
    found.folder.save(model, folder)
    assert found.folder.recognises(folder)
    assert not found.folder.recognises(tmp_path)
    again = found.folder.load(folder)
    assert again.config == model.config
    assert again.family is found
    assert equal_weights(again, model)


@FAMILY
def test_a_config_survives_json(name):
    config, _ = ALL[name].tiny()
    data = json.loads(config.model_dump_json())
    assert parse(ALL[name].config, data, "json") == config
    assert parse(ALL[name].settings, json.loads(ALL[name].settings().model_dump_json()), "json") == ALL[name].settings()


@FAMILY
def test_log_prob_is_one_number_a_part(name):
    found = ALL[name]
    if found.log_prob is None:
        pytest.skip("this family cannot say how likely a row is")
    model, batch = fresh(name), found.tiny()[1].batch(0, 6)
    model.net.eval()
    rng = Rng(0, 0, torch.arange(6))
    with torch.no_grad():
        values, mask = found.log_prob(model, batch, rng)
        some, _ = found.log_prob(model, {k: v[2:4] for k, v in batch.items()}, rng.at(torch.arange(2, 4)))
    assert values.shape == mask.shape
    assert values.shape[0] == 6
    assert mask.dtype == torch.bool
    assert mask.any(1).all()
    assert values[mask].isfinite().all()
    assert torch.allclose(values[2:4], some, atol=1e-5)
    assert found.log_prob.kind in ("exact", "bound", "score")
    if found.log_prob.kind == "exact" and batch[found.inputs[0]].dtype == torch.int64:
        assert (values[mask] <= 0).all()


@FAMILY
def test_cost_counts_what_is_there(name):
    config, source = ALL[name].tiny()
    first = next(iter(source.batch(0, 1).values()))
    cost = ALL[name].cost(config, first.shape[1] - 1)
    assert cost.parameters == sum(p.numel() for p in fresh(name).net.parameters())
    assert cost.flops > 2 * cost.parameters
    assert cost.activations > 0
    assert cost.units[1] > 0


@FAMILY
def test_the_record_is_complete(name):
    found = ALL[name]
    config, source = found.tiny()
    assert isinstance(config, found.config)
    assert set(found.inputs) <= set(source.batch(0, 2))
    assert all(len(t) == 3 for t in source.batch(1, 3).values())
    net = fresh(name).net
    inside = {id(p) for block in found.blocks(net) for p in block.parameters()}
    assert inside <= {id(p) for p in net.parameters()}
    for make in found.objectives.values():
        assert all(list(net.get_submodule(player).parameters()) for player in make().players)


@CASE
def test_five_steps_are_golden(name, objective, tmp_path, request):
    """A change of these is a change of what every run gives: write them anew with `--golden` and say why."""
    _, lines = train(name, objective, tmp_path, settings(5))
    found = {key: [line[key] for line in lines] for key in lines[0] if key.endswith("loss")}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if request.config.getoption("--golden"):
        GOLDEN.write_text(json.dumps(golden | {f"{name}/{objective}": found}, indent=1, sort_keys=True) + "\n")
        return
    wanted = golden[f"{name}/{objective}"]
    assert found.keys() == wanted.keys()
    for key, values in found.items():
        assert values == pytest.approx(wanted[key], rel=1e-4), key


def test_batches_differ_between_families_in_nothing_but_names():
    for found in ALL.values():
        batch = found.tiny()[1].batch(0, BATCH)
        assert all(isinstance(t, torch.Tensor) and len(t) == BATCH for t in batch.values())
