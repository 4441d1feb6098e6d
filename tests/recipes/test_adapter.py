"""A recipe with an [adapter]: only it is trained, kept in checkpoints, and written as PEFT's folder."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from makar.core.errors import ModelError, RecipeError, RunError
from makar.core.tensors import load_tensors
from makar.engine.adapters import merged
from makar.engine.load import open_model
from makar.nets.lora import adapters_of, plain_state
from makar.recipes.execute import train
from makar.recipes.plan import plan
from makar.train.metrics import read_metrics

DATA = 'data = {{ sources = ["{corpus}"], collect = {{ valid_fraction = 0.1, min_chars = 1 }}, length = 16 }}'
TEXT = f"""
[stages.base]
{DATA}
model = {{{{ family = "language", vocab_size = 288, hidden_size = 16, num_hidden_layers = 2 }}}}
train = {{{{ steps = 4, batch_size = 4, compile = "off" }}}}
[stages.tuned]
init = "@base"
{DATA}
[stages.tuned.adapter]
rank = 2
[stages.tuned.train]
steps = 12
batch_size = 4
checkpoint_steps = 4
compile = "off"
optimizer = {{{{ learning_rate = 0.02 }}}}
[stages.tuned.watch]
validate_every = 6
sample_every = 6
[stages.tuned.sample]
max_tokens = 4
"""
TUNED = "stages.tuned."


class Killed(BaseException):
    """Stands for a kill: nothing is saved on the way out."""


def killer(step):
    def progress(state):
        if state.step == step and state.steps == 12:
            raise Killed

    return progress


@pytest.fixture
def tuned(tiny, workspace):
    """Both stages, changed at will; the second's run."""

    def run(*sets, name="chain", **more):
        return train(tiny(*sets, name=name, text=TEXT), workspace, **more)[-1].run

    return run


def weights(run):
    return load_tensors(run.model / "adapter_model.safetensors")


def test_the_model_is_an_adapter_over_its_base(tuned, workspace):
    run = tuned()
    base = workspace.run("chain/base")
    held = {path.name for path in run.model.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "tokenizer.json"} <= held
    assert not {"config.json", "model.safetensors"} & held
    model, plain = open_model(run.folder), open_model(base.folder)
    assert adapters_of(model.net)["default"].rank == 2
    assert model.generation["max_tokens"] == 4
    assert all(torch.equal(t, plain.net.state_dict()[name]) for name, t in plain_state(model.net).items())
    assert sum(t.abs().sum() for name, t in weights(run).items() if "lora_B" in name) > 0
    losses = [line["loss"] for line in read_metrics(run.metrics)]
    assert sum(losses[-3:]) < sum(losses[:3])
    card = (run.model / "README.md").read_text()
    assert "library_name: peft" in card
    assert f"{sum(t.numel() for t in weights(run).values()):,} of them are trained" in card


def test_checkpoints_hold_what_is_trained_and_nothing_else(tuned):
    run = tuned(f"{TUNED}train.ema_halflife=3")
    count = len(weights(run))
    tensors = load_tensors(run.folder / "checkpoints" / "step-00000012" / "state.safetensors")
    kinds = {kind: [name for name in tensors if name.startswith(kind)] for kind in ("net/", "average/", "optimizer/")}
    assert [len(names) for names in kinds.values()] == [count, count, 3 * count]
    assert all(".adapters." in name for name in tensors)
    identity = json.loads((run.folder / "checkpoints" / "step-00000012" / "state.json").read_text())["identity"]
    assert len(identity["base"]) == 64


@pytest.mark.parametrize("sets", [[], ["train.ema_halflife=3", "adapter.dropout=0.2", "adapter.dora=true"]])
def test_killed_and_started_again_equals_undisturbed(tuned, sets):
    sets = [TUNED + item for item in sets]
    whole = tuned(*sets, name="whole")
    for step in (3, 6, 11):
        with pytest.raises(Killed):
            tuned(*sets, name="killed", progress=killer(step))
    again = tuned(*sets, name="killed")
    pairs = zip(read_metrics(whole.metrics), read_metrics(again.metrics), strict=True)
    assert all(one["loss_hex"] == other["loss_hex"] for one, other in pairs)
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(whole).items())


def test_recomputing_is_the_same(tuned):
    sets = [f"{TUNED}train.precision=fp32", f"{TUNED}adapter.dropout=0.2"]
    one, other = tuned(*sets, name="one"), tuned(*sets, f"{TUNED}train.recompute=true", name="other")
    for name, tensor in weights(one).items():
        assert torch.allclose(tensor, weights(other)[name], atol=1e-6), name


def test_what_stands_on_an_adapter_begins_from_the_merged_model(tiny, workspace):
    third = TEXT[TEXT.index("[stages.tuned]") :].replace("tuned", "third").replace("@base", "@tuned")
    runs = [result.run for result in train(tiny(name="three", text=TEXT + third), workspace)]
    below, above = merged(open_model(runs[1].folder)), open_model(runs[2].folder)
    assert all(torch.equal(t, below.net.state_dict()[name]) for name, t in plain_state(above.net).items())
    full = third.replace("[stages.third.adapter]\nrank = 2\n", "").replace("third", "full")
    run = train(tiny(name="four", text=TEXT + full), workspace)[-1].run
    assert (run.model / "config.json").is_file()


def test_another_base_is_refused(tuned, workspace):
    with pytest.raises(Killed):
        tuned(progress=killer(6))
    base = workspace.run("chain/base").model / "model.safetensors"
    tensors = {name: tensor + 0.01 for name, tensor in load_tensors(base).items()}
    from makar.core.tensors import save_tensors

    save_tensors(base, tensors)
    with pytest.raises(RunError, match="another run: base differs"):
        tuned()


@pytest.mark.parametrize("reference", ["@chain", "{root}/runs/chain"])
def test_a_run_over_a_whole_chain_goes_on_whatever_its_checkpoints_do(tuned, tiny, workspace, reference):
    """What it stands on are the weights of the last stage, and nothing else that lies in its folder."""
    chain = tuned(f"{TUNED}train.steps=2").folder
    after = TEXT[TEXT.index("[stages.tuned]") :].replace('"@base"', f'"{reference.format(root=workspace.root)}"')
    file = tiny(name="after", text=after)
    with pytest.raises(Killed):
        train(file, workspace, progress=killer(6))
    shutil.copytree(chain / "checkpoints" / "step-00000002", chain / "checkpoints" / "step-00000099")
    (result,) = train(file, workspace)
    assert result.run.finished
    (parent,) = result.run.manifest["parent"].values()
    assert parent["weights"].keys() == {"adapter_model.safetensors"}


def test_a_run_over_a_changed_base_does_not_open(tuned, workspace):
    run = tuned()
    base = workspace.run("chain/base").model / "model.safetensors"
    from makar.core.tensors import save_tensors

    save_tensors(base, {name: tensor + 0.01 for name, tensor in load_tensors(base).items()})
    with pytest.raises(ModelError, match="of another base: the weights differ"):
        open_model(run.folder)


def test_the_plan_counts_what_is_spared(tiny, workspace):
    full = tiny(name="full", text=TEXT.replace("[stages.tuned.adapter]\nrank = 2\n", ""))
    both = [plan(file, f"{file.name}/tuned", workspace) for file in (full, tiny(name="part", text=TEXT))]
    assert both[1].parameters > both[0].parameters
    assert 0.6 < both[1].flops / both[0].flops < 0.9
    assert both[1].memory["weights"] > both[0].memory["weights"]
    trained = 4 * (both[1].parameters - both[0].parameters)
    assert both[1].memory["gradients"] == trained
    assert both[1].memory["optimizer"] == 2 * trained
    assert both[1].disk["checkpoints"] < both[0].disk["checkpoints"] / 2


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([f"{TUNED}adapter.targets=['q_prj']"], "did you mean 'q_proj'"),
        ([f"{TUNED}adapter.rank=0"], "greater than 0"),
        ([f"{TUNED}adapter.rnk=4"], "did you mean 'rank'"),
        ([f"{TUNED}train.optimizer.name=muon"], "Muon's steps are made for whole matrices"),
        (["stages.base.adapter.rank=2"], "stands beside trained weights"),
    ],
)
def test_what_does_not_fit_is_said(tuned, sets, words):
    with pytest.raises(RecipeError, match=words):
        tuned(*sets)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_compiled_it_learns_the_same(tuned, tiny, workspace, tmp_path):
    """In a process of its own: the type checks of the tests cannot be compiled."""
    eager = tuned(f"{TUNED}train.precision=fp32", name="eager")
    tiny(name="compiled", text=TEXT)
    sets = ["--set", f"{TUNED}train.precision=fp32", "--set", f"{TUNED}train.compile=on"]
    subprocess.run(
        [sys.executable, "-m", "makar", "train", "compiled.toml", "--quiet", *sets], cwd=tmp_path, check=True
    )
    compiled = workspace.run("compiled/tuned")
    ours, theirs = ([line["loss"] for line in read_metrics(run.metrics)] for run in (compiled, eager))
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert compiled.manifest["decisions"]["compile_from"] == 0
