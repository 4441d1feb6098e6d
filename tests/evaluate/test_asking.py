"""Suites that ask, end to end: on a model whose answers are known."""

import json

import pytest
import torch

from makar.app.cli import run
from makar.core.errors import InputError, ModelError, RecipeError
from makar.evaluate import asking
from makar.evaluate.choice import Question, Scores
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.run import evaluate
from makar.families.language import sample
from makar.families.language.family import FAMILY

TASKS = """\
{"question": "the moon", "choices": ["over", "over the sea"], "answer": 0}
{"question": "the moon", "choices": ["over the sea", "sea"], "answer": 1}
{"prompt": "the moon", "answer": ["the sea", "a hill"]}
{"prompt": "the moon", "pattern": "^the s"}
{"prompt": "the moon", "answer": "the moon"}
"""


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text(TASKS)
    return path


@pytest.fixture
def writes(model, monkeypatch):
    """The model writes "the sea", token by token, and then the end token."""
    codec = model.parts["codec"]
    ids = [*codec.ids(" the sea", start=False), codec.end_id]

    def scripted(logits, state):
        return torch.tensor([ids[p] for p in (state["lengths"] + 1 - state["prompt"]).tolist()])

    monkeypatch.setattr(sample, "choose", scripted)


def test_a_model_without_an_opinion_prefers_the_shorter_ending(model, tasks, writes):
    options = EvaluateOptions(suites=("tasks",), tasks=tasks)
    report = evaluate(model, None, options)
    assert report.value("tasks", "right_by_sum") == 1.0  # each token costs the same
    assert report.value("tasks", "right_by_token") == 0.5  # all alike: the first of equals
    assert report.value("tasks", "right_by_sum", "chance") == 0.5
    assert report.value("tasks", "questions") == 2
    assert report.value("tasks", "answers") == 3
    assert report.value("tasks", "right") == pytest.approx(1 / 3)  # " the sea" does not begin with "the s"
    assert report.value("tasks", "overlap") == pytest.approx((1 + 2 * 1 / 4) / 2)
    assert json.loads(report.json())["sections"]["tasks"]["title"] == "Tasks"
    assert "Measured against" not in report.markdown()
    few = evaluate(model, None, options.model_copy(update={"documents": 1}))
    assert few.value("tasks", "questions") == 1


def test_each_kind_has_its_own_figures():
    questions = [Question("", ("s", "a", "u"), group=group) for group in ("x", "x", "y", "y")]
    nats = [(-1.0, -2.0, -3.0), (-1.0, -2.0, -1.5), (-2.0, -1.0, -3.0), (-1.0, -2.0, -0.5)]
    scores = [Scores(each, (1, 1, 1), ("s", "a", "u")) for each in nats]
    found = asking.associated(questions, scores)
    assert found["sense"].values["model"] == 5 / 8
    assert found["stereotyped"].values["model"] == 3 / 4
    assert found["idealized"].values["model"] == pytest.approx(5 / 8 * (1 / 4) / 0.5)
    assert found["stereotyped_y"].values["model"] == 1 / 2
    pairs = asking.preferred(questions, scores)
    assert pairs["stereotyped"].values == {"model": 0.5, "no preference": 0.5}
    assert pairs["stereotyped_x"].values["model"] == 1.0
    right = asking.chosen([Question("", q.endings, 0, group=q.group) for q in questions], scores)
    assert right["right_by_character"].values["model"] == 0.5
    assert right["right_by_sum"].values["chance"] == pytest.approx(1 / 3)
    assert (right["right_x"].values["model"], right["right_y"].values["model"]) == (1.0, 0.0)


def test_what_cannot_be_asked_is_said(model, tmp_path):
    with pytest.raises(RecipeError, match="the suite 'tasks' needs a file"):
        evaluate(model, None, EvaluateOptions(suites=("tasks",)))
    with pytest.raises(InputError, match="no dataset to measure beside"):
        evaluate(model, None)
    with pytest.raises(ModelError, match="not a language model with its tokenizer"):
        evaluate(model.__class__(FAMILY, model.config, model.net), None, EvaluateOptions(suites=("piqa",)))


def test_the_command_asks_what_is_in_a_file(model, tasks, tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    model.family.folder.save(model, folder)
    assert run(["evaluate", str(folder), "--tasks", str(tasks), "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sections"]["tasks"]["figures"]["right_by_sum"]["values"]["model"] == 1.0
    assert (folder / "evaluation-tasks.md").is_file()
    assert not (folder / "evaluation.md").exists()
    assert run(["evaluate", str(folder), "--suite", "pica"]) == 2
    assert "did you mean 'piqa'" in capsys.readouterr().err
