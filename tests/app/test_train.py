"""Collect, plan, train, resume, evaluate, write: the commands as a person types them, on a corpus of a few pages."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from makar import api
from scripts import docs


def test_from_recipe_to_text(place, call):
    planned = json.loads(call("plan", "tiny.toml", "--json").out)["tiny"]
    assert planned["parameters"] > 0
    assert not (place / "runs").exists(), "a plan writes nothing"

    out, err = call("train", "tiny.toml")
    assert out.startswith("tiny: finished, step 12 of 12, loss ")
    assert out.endswith("runs/tiny/model\n")
    assert "bits per byte" in out
    assert "step 12/12  loss " in err
    assert "a sample at step 12" in err
    assert {"recipe.toml", "manifest.json", "metrics.jsonl", "checkpoints", "samples", "model"} <= {
        path.name for path in (place / "runs" / "tiny").iterdir()
    }

    out, err = call("train", "tiny.toml", "--json")
    assert json.loads(out)["state"] == "finished"
    assert "finished at" in err

    assert call("generate", "tiny", "The moon", "--max-tokens", "5").out.startswith("The moon")

    out, err = call("evaluate", "tiny", "--suite", "likelihood", "--documents", "2", "--json")
    bits = json.loads(out)["sections"]["likelihood"]["figures"]["bits_per_byte"]["values"]
    assert 0 < bits["model"] < 10
    assert {"bzip2 -9", "xz -9e"} <= set(bits)
    assert (place / "runs" / "tiny" / "evaluation.md").is_file()
    assert "bits per byte" in call("evaluate", "tiny", "--suite", "likelihood", "--quiet").out
    few = ("evaluate", "tiny", "--suite", "variety", "--samples", "2", "--documents", "2")
    out, _ = call(*few, "--set", "temperature=0", "--set", "max_tokens=3", "--json")
    assert json.loads(out)["settings"]["generation"]["temperature"] == 0
    assert "did you mean 'temperature'" in call(*few, "--set", "temprature=0", code=2).err

    assert call("inspect", "runs/tiny").out.startswith("runs/tiny: run, intact")
    assert call("runs").out.splitlines()[1].split()[:3] == ["tiny", "finished", "12/12"]


def test_a_changed_recipe_is_refused_and_another_run_folder_taken(place, call):
    call("train", "tiny.toml", "--quiet")
    assert "--run" in call("train", "tiny.toml", "--set", "train.steps=13", "--quiet", code=2).err
    out, err = call("train", "tiny.toml", "--set", "train.steps=13", "--run", "runs/other", "--quiet")
    assert out.startswith("other: finished, step 13 of 13")
    assert not err


def test_the_second_process_of_torchrun_prints_nothing(place, call, monkeypatch):
    call("train", "tiny.toml", "--quiet")
    monkeypatch.setenv("RANK", "1")
    assert call("train", "tiny.toml") == ("", "")


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ("train.stesp=3", "did you mean 'steps'?"),
        ("train.steps=-3", "train.steps"),
        ("train.steps=many", "train.steps"),
        ("data.dataset=nowhere", "nowhere"),
        ("train", "train.steps=1000"),
    ],
)
def test_a_bad_setting_is_one_line_and_leaves_nothing(place, call, sets, said):
    out, err = call("train", "tiny.toml", "--set", sets, "--quiet", code=2)
    assert not out
    assert err.count("\n") == 1
    assert said in err
    assert not (place / "runs" / "tiny" / "model").exists()


def test_what_does_not_fit_is_refused_unless_forced(place, call):
    big = ["--set", "model.hidden_size=200000", "--set", "model.num_attention_heads=2000"]
    err = call("train", "tiny.toml", *big, "--quiet", code=2).err
    assert "not enough memory" in err
    assert "--force" in err


def test_control_c_saves_and_the_same_command_goes_on(place, call):
    command = [sys.executable, "-m", "makar", "train", "tiny.toml", "--set", "train.steps=100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place) as process:
        metrics = place / "runs" / "tiny" / "metrics.jsonl"
        while not metrics.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("makar: stopped\n")
    assert "Traceback" not in err
    step = int(re.search(r"saved at step (\d+)", err)[1])
    assert call("runs", "show", "tiny").out.startswith(f"tiny: stopped, step {step} of 100000")


def test_the_python_example_of_the_readme_runs(place, monkeypatch, capsys):
    """As it stands in the README, with the recipe's sizes made tiny."""
    text = docs.ROOT.joinpath("README.md").read_text(encoding="utf-8")
    (example,) = (body for language, body in docs.FENCE.findall(text) if language == "python")
    sets = [line.strip() for line in SETS.splitlines() if line.strip()]
    train = api.train
    monkeypatch.setattr(api, "train", lambda recipe: train(recipe, sets))
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("The moon") == 3
    assert (place / "runs" / "poems-quick" / "model").is_dir()


SETS = """
data.sources=[]
data.dataset=data/mine
data.length=32
data.collect={}
model.vocab_size=300
model.hidden_size=16
model.num_hidden_layers=1
train.steps=2
train.compile=off
sample.max_tokens=16
"""
