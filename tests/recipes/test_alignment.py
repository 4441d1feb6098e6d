"""Alignment from a recipe: every objective, end to end, refused where it does not fit, gone on with after a stop."""

import json

import pytest
import torch

from makar.align.config import ROWS
from makar.align.reward_model import load
from makar.core.errors import InputError, RecipeError
from makar.core.nouns import Request
from makar.core.tensors import load_tensors
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.space import compares
from makar.train.metrics import read_metrics

FRESH = 'model = { family = "language", hidden_size = 16, num_hidden_layers = 1 }'

BASE = """
[stages.base]
data = {{ sources = ["{folder}/text.jsonl"], collect = {{ valid_fraction = 0.1, min_chars = 1 }}, length = 96 }}
model = {{ family = "language", vocab_size = 288, hidden_size = 16, num_hidden_layers = 1, num_attention_heads = 2 }}
train = {{ steps = 3, batch_size = 4, compile = "off" }}
watch = {{ validate_rows = 8 }}
sample = {{ max_tokens = 6 }}
"""

ALIGNED = """
[stages.{name}]
init = "@base"
data = {{ rows = "{rows}", sources = ["{folder}/{rows}.jsonl"], collect = {{ valid_fraction = 0.2 }}, length = 95 }}
objective = {{ name = "{name}" }}
train = {{ steps = 4, batch_size = 6, micro_batch_size = 4, compile = "off", checkpoint_steps = 2 }}
watch = {{ validate_rows = 6, validate_every = 2, prompts = ["the moon"] }}
"""

EARNED = """
reward = {reward}
rollouts = {{ group = 3, max_tokens = 5, epochs = 2 }}
"""


@pytest.fixture
def folder(tmp_path, corpus):
    """Forty rows of each kind."""
    words = [json.loads(line)["text"].split() for line in corpus.read_text().splitlines()]
    rows = {
        "text": [{"text": " ".join(each)} for each in words],
        "preference": [
            {"prompt": " ".join(each[:3]), "chosen": " ".join(each[3:7]), "rejected": each[8]} for each in words[:40]
        ],
        "judged": [
            {"prompt": " ".join(each[:3]), "completion": " ".join(each[3:6]), "label": k % 2 == 0}
            for k, each in enumerate(words[:40])
        ],
        "prompts": [{"prompt": " ".join(each[:4]), "answer": each[4]} for each in words[:40]],
    }
    for name, each in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
    (tmp_path / "mine.py").write_text("def vowels(prompt, answer, row):\n    return sum(map(answer.count, 'aeiou'))\n")
    return tmp_path


def recipe(folder, *names, changes=None, reward='{ python = { function = "mine:vowels" }, stop = 0.5 }'):
    text = BASE.format(folder=folder)
    for name in names:
        text += ALIGNED.format(name=name, rows=ROWS[name], folder=folder)
        if ROWS[name] == "prompts":
            text += EARNED.format(reward=reward)
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    (folder / "stages.toml").write_text(text)
    return load_recipe(folder / "stages.toml")


def test_a_conversation_is_a_prompt_whose_answer_is_known(folder, workspace):
    """Every answer is compared with what the conversation says."""
    rows = [json.loads(line) for line in (folder / "prompts.jsonl").read_text().splitlines()]
    chats = [{"prompt": row["prompt"], "completion": row["answer"]} for row in rows]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    (folder / "mine.py").write_text("def known(prompt, answer, row):\n    return float(len(row['answer']) > 0)\n")
    *_, result = train(recipe(folder, "grpo", reward='{ python = { function = "mine:known" } }'), workspace)
    assert {line["reward/python"] for line in read_metrics(result.run.metrics)} == {1.0}


@pytest.mark.parametrize("name", [name for name, rows in ROWS.items() if rows in ("preference", "judged")])
def test_rows_that_are_there(folder, workspace, name):
    *_, result = train(recipe(folder, name), workspace)
    lines = read_metrics(result.run.metrics)
    assert len(lines) == 4
    assert {"chosen_reward", "rejected_reward"} <= lines[0].keys()
    assert result.run.manifest["rows"]["train"] > 20
    assert result.run.manifest["parent"]["@stages/base"]["weights"]
    assert result.run.manifest["outcome"]["validation"]["loss"] > 0
    if name == "reward":
        assert load(result.run.model).net.score.weight.shape == (1, 16)
    else:
        assert open_model(result.run.folder).parts["codec"].chat_template
        assert (result.run.samples / "step-00000004.txt").read_text().startswith("the moon")


@pytest.mark.parametrize("name", [name for name, rows in ROWS.items() if rows == "prompts"])
def test_answers_that_the_model_makes(folder, workspace, name):
    *_, result = train(recipe(folder, name), workspace)
    lines, looks = read_metrics(result.run.metrics), read_metrics(result.run.metrics, "watch")
    assert {"reward", "reward/python", "reward/stop", "kl", "entropy", "length", "clipped"} <= lines[0].keys()
    assert max(line["decoding_gap"] for line in lines) <= 1e-3
    assert {"perplexity", "distinct_2", "reward"} <= looks[0].keys()
    assert [line["step"] for line in read_metrics(result.run.metrics, "rollout")] == [0, 2]
    assert (result.run.samples / "held-out-00000002.txt").is_file()
    assert set(load_tensors(result.run.model / "model.safetensors")) == set(
        load_tensors(workspace.run("stages/base").model / "model.safetensors")
    )
    model = open_model(result.run.folder)
    assert Engine(model).generate([Request([{"role": "user", "content": "the moon"}])])[0].info["ids"]


def test_a_reward_model_reads_rows_as_long_as_its_context_and_no_longer(folder, workspace):
    rows = [{"prompt": "of the", "chosen": "7" * size, "rejected": "moon"} for size in range(100)]
    (folder / "preference.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    file = recipe(folder, "reward", changes={"length = 95": "length = 96, cut = 0.9"})
    *_, result = train(file, workspace)
    assert result.run.manifest["rows"]["left_out"] > 0
    assert result.run.manifest["outcome"]["validation"]["loss"] > 0


def test_a_reward_model_judges_and_its_stage_comes_first(folder, workspace):
    file = recipe(folder, "grpo", "reward", reward='{ model = { path = "@reward" } }')
    assert list(file.stages)[-1] == "stages/grpo"
    results = train(file, workspace)
    assert "reward/model" in read_metrics(results[-1].run.metrics)[0]
    assert "@stages/reward" in results[-1].run.manifest["parent"]


def test_an_adapter_is_compared_with_the_net_without_it(folder, workspace):
    file = recipe(folder, "dpo", "grpo", changes={"objective = {": "adapter = { rank = 2 }\nobjective = {"})
    for result in train(file, workspace)[1:]:
        line = read_metrics(result.run.metrics)[0]
        assert line.get("margin", 0.0) == pytest.approx(0, abs=1e-4)
        assert line.get("kl", 0.0) == pytest.approx(0, abs=1e-4)
        assert (result.run.model / "adapter_model.safetensors").is_file()


class Killed(BaseException):
    """Stands for a kill."""


def test_a_stopped_run_goes_on_to_the_bit(folder, workspace):
    file = recipe(folder, "grpo", changes={"steps = 4": "steps = 5"})
    *_, whole = train(file, workspace)

    def killer(state):
        if state.step == 3 and state.steps == 5:
            raise Killed

    other = load_recipe(folder / "stages.toml", run=folder / "again")
    with pytest.raises(Killed):
        train(other, workspace, progress=killer)
    *_, again = train(other, workspace)
    hexes = [[line["loss_hex"] for line in read_metrics(result.run.metrics)] for result in (whole, again)]
    assert hexes[0] == hexes[1]
    weights = [load_tensors(result.run.model / "model.safetensors") for result in (whole, again)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize(("name", "knows"), [("dpo", True), ("simpo", False)])
def test_a_checkpoint_knows_the_model_that_its_run_is_compared_with(folder, workspace, name, knows):
    """Trained anew, the beginning would be another reference for the steps that are left."""
    *_, result = train(recipe(folder, name), workspace)
    state = json.loads((result.run.folder / "checkpoints" / "step-00000004" / "state.json").read_text())
    assert ("base" in state["identity"]) == knows


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({'rows = "prompts"': 'rows = "preference"'}, "set data.rows = 'prompts'"),
        ({"group = 3": "group = 4"}, "multiple of rollouts.group 4"),
        ({"reward = {": "# {"}, "add [reward]"),
        ({'init = "@base"': FRESH}, "alignment begins from a trained model"),
        ({'name = "grpo"': 'name = "next_token"'}, "take [reward] and [rollouts] out"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(folder, workspace, changes, said):
    with pytest.raises(RecipeError) as fault:
        recipe(folder, "grpo", changes=changes)
    assert said in str(fault.value)


@pytest.mark.parametrize(
    ("name", "changes", "kind", "said"),
    [
        ("dpo", {'"dpo" }': '"dpo", options = { betta = 1.0 } }'}, RecipeError, "did you mean 'beta'?"),
        ("dpo", {'"dpo" }': '"dpo", options = { beta = "x" } }'}, RecipeError, "valid number"),
        ("ipo", {'"ipo" }': '"ipo", options = { beta = 0 } }'}, RecipeError, "greater than 0"),
        ("rloo", {'"rloo" }': '"rloo", options = { kl_target = 0.0 } }'}, RecipeError, "greater than 0"),
        ("ppo", {'"ppo" }': '"ppo" }\nadapter = { rank = 2 }'}, RecipeError, "trains a head"),
        ("dpo", {"length = 95": "length = 30"}, InputError, "rows longer than data.length"),
        ("grpo", {"max_tokens = 5": "max_tokens = 80"}, InputError, "leaves no room for an answer"),
        ("dpo", {"/preference.jsonl": "/judged.jsonl"}, RecipeError, "the dataset holds 'judged' and no 'preference'"),
    ],
)
def test_what_is_found_only_later_is_refused_too(folder, workspace, name, changes, kind, said):
    with pytest.raises(kind) as fault:
        train(recipe(folder, name, changes=changes), workspace)
    assert said in str(fault.value)


def test_a_reward_that_raises_names_the_function_and_the_row(folder, workspace):
    (folder / "mine.py").write_text("def vowels(prompt, answer, row):\n    return row['nothing']\n")
    with pytest.raises(InputError, match=r"mine.py:vowels, row 0: the reward raised KeyError: 'nothing'"):
        train(recipe(folder, "grpo"), workspace)


def test_a_plan_counts_the_copy_that_is_compared_with(folder):
    adapted = recipe(folder, "dpo", changes={"objective = {": "adapter = { rank = 2 }\nobjective = {"})
    assert not compares(adapted.stages["stages/dpo"])
    stages = recipe(folder, "dpo", "orpo", "reward", "grpo").stages
    assert [name for name, stage in stages.items() if compares(stage)] == ["stages/dpo", "stages/grpo"]
