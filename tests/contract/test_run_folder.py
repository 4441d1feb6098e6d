"""Every family leaves the same run folder: complete, resumable, and finished once."""

import json

import pytest
import torch

from makar.core.errors import RunError
from makar.recipes.assemble import Job
from makar.recipes.execute import execute
from makar.recipes.run import Run
from tests.contract.support import ALL, CASES, Killed, equal_weights, fresh, killer, settings

CASE = pytest.mark.parametrize(("name", "objective"), CASES, ids=map("-".join, CASES))


def job(name, objective, watches=(), seed=0):
    found = ALL[name]
    return Job(
        model=fresh(name, seed),
        source=found.tiny()[1],
        objective=found.objectives[objective](),
        train=settings(12),
        watches=watches,
    )


@CASE
def test_a_run_folder_is_whole(name, objective, tmp_path):
    run = Run(tmp_path / "run")
    outcome = execute(made := job(name, objective), run)
    assert outcome.step == 12
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {"recipe.toml", "manifest.json", "metrics.jsonl", "checkpoints", "model", "loss.png"}
    assert run.finished
    assert (run.manifest["family"], run.manifest["outcome"]["step"]) == (name, 12)
    assert (run.model / "README.md").read_text().startswith("---\n")
    steps = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in steps if line["kind"] == "train"] == list(range(12))
    again = ALL[name].folder.load(run.model)
    assert equal_weights(again, made.model)


@CASE
def test_a_killed_run_ends_in_the_same_folder(name, objective, tmp_path):
    whole, cut = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    execute(job(name, objective), whole)
    with pytest.raises(Killed):
        execute(job(name, objective, [killer(8)]), cut)
    assert not cut.finished
    assert not cut.model.exists()
    execute(job(name, objective, seed=1), cut)  # the fresh weights are not what it goes on with
    first, second = (ALL[name].folder.load(run.model).net.state_dict() for run in (whole, cut))
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
    assert "resumed" in cut.manifest


def test_another_seed_is_another_run(tmp_path):
    run = Run(tmp_path / "run")
    execute(job("toy-vae", "elbo"), run)
    other = job("toy-vae", "elbo")
    with pytest.raises(RunError, match="seed was 0, now it is 1"):
        execute(Job(other.model, other.source, other.objective, other.train, seed=1), run)
