"""Pairs of answers, by models whose opinion is known: none, another one's, a reward model's."""

import json
from dataclasses import replace

import pytest
import torch

from makar.align.reward_model import from_language, judge_of, save
from makar.align.rewards import Case
from makar.app.cli import run
from makar.codecs.chat import answer_ids, chat_ids, prompt_ids
from makar.codecs.template import template_of
from makar.core.errors import InputError, ModelError
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.pairs import scores_of
from makar.evaluate.run import evaluate

USER = {"role": "user", "content": "hi"}
TALK = [USER, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "so"}]


def pair(chosen, rejected, prompt=(USER,)):
    """A record whose answers are texts."""
    said = [[{"role": "assistant", "content": text}] for text in (chosen, rejected)]
    return {"prompt": list(prompt), "chosen": said[0], "rejected": said[1]}


ROWS = [pair("moon", "the moon and the sea"), pair("a b c d", "e"), pair("xy", "zu", TALK), pair("sea", "z", TALK)]


@pytest.fixture
def opinionated(model):
    """The same model with an opinion."""
    torch.manual_seed(1)
    torch.nn.init.ones_(model.net.model.norm.weight)
    torch.nn.init.normal_(model.net.model.embed_tokens.weight, 0, 0.5)
    return model


def test_a_model_without_an_opinion_knows_lengths_alone(model, records):
    report = evaluate(model, records("preference", ROWS))
    assert report.settings["suites"] == ("pairs",)
    assert report.sections.keys() == {"pairs"}
    sizes = [(len(model.parts["codec"].ids(p["chosen"][0]["content"], start=False)),
              len(model.parts["codec"].ids(p["rejected"][0]["content"], start=False))) for p in ROWS]  # fmt: skip
    shorter = sum(1.0 if a < b else 0.5 if a == b else 0.0 for a, b in sizes) / 4
    assert report.value("pairs", "right_by_sum") == report.value("pairs", "shorter") == shorter
    assert 0 < shorter < 1
    assert report.value("pairs", "right_by_token", "chance") == 0.5
    assert report.value("pairs", "right_by_sum", "count") == 4
    assert report.samples == ()


def test_batches_score_as_one_row_after_the_other(opinionated):
    codec, template = opinionated.parts["codec"], template_of(opinionated.parts["codec"])
    for record, found in zip(ROWS, scores_of(opinionated, ROWS, bf16=False), strict=True):
        for k, side in enumerate(("chosen", "rejected")):
            ids, mask = chat_ids(codec, template, [*record["prompt"], *record[side]])
            begin = len(prompt_ids(codec, template, record["prompt"]))
            with torch.no_grad():
                said = opinionated.net(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
            by_hand = [float(said[place - 1, ids[place]]) for place in range(begin, len(ids)) if mask[place]]
            assert found.totals[k] == pytest.approx(sum(by_hand), rel=1e-5)
            assert found.parts[k] == len(by_hand)
            assert found.means[k] == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)


def test_turned_about_pairs_are_right_where_they_were_wrong(opinionated, records):
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in ROWS[:3]]
    one, other = (
        evaluate(opinionated, data) for data in (records("preference", ROWS[:3]), records("preference", turned, turned))
    )
    for figure in ("right_by_sum", "right_by_token", "shorter"):
        assert one.value("pairs", figure) == pytest.approx(1 - other.value("pairs", figure))


def test_over_itself_a_model_has_gained_nothing_and_over_none_its_own_opinion(opinionated, records, tmp_path):
    dataset = records("preference", ROWS)
    opinionated.family.folder.save(opinionated, tmp_path)
    options = EvaluateOptions(reference=tmp_path)
    assert evaluate(opinionated, dataset, options).value("pairs", "right_by_gain") == 0.5
    before = evaluate(opinionated, dataset)
    assert "right_by_gain" not in before.sections["pairs"].figures
    torch.nn.init.zeros_(opinionated.net.model.norm.weight)  # now it thinks nothing, and all that it gained is a loss
    report = evaluate(opinionated, dataset, options)
    kept = scores_of(opinionated, ROWS, bf16=False)
    torch.nn.init.ones_(opinionated.net.model.norm.weight)
    was = scores_of(opinionated, ROWS, bf16=False)
    gains = [now.over(then) for now, then in zip(kept, was, strict=True)]
    assert report.value("pairs", "right_by_gain") == sum(chosen > rejected for chosen, rejected in gains) / 4


def test_a_reward_model_is_measured_as_it_judges(opinionated, records, tmp_path, capsys):
    codec = opinionated.parts["codec"]
    judge = from_language(opinionated, seed=0)
    torch.nn.init.normal_(judge.net.score.weight)
    dataset = records("preference", ROWS)
    report = evaluate(judge, dataset)
    assert report.sections["pairs"].figures.keys() == {"right"}
    folder = tmp_path / "judge"
    folder.mkdir()
    save(judge, folder)
    template, values = template_of(codec), []
    for row in ROWS:
        sides = [answer_ids(codec, template, row["prompt"], row[side]) for side in ("chosen", "rejected")]
        cases = [Case("", "", ids=tuple(ids[: len(ids) - mask[::-1].index(True)])) for ids, mask in sides]
        values.append(judge_of(str(folder))(cases))  # at the end of the turn, as it judges rollouts
    assert report.value("pairs", "right") == sum(chosen > rejected for chosen, rejected in values) / 4
    assert run(["evaluate", str(folder), "--data", str(dataset.path), "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sections"]["pairs"]["figures"]["right"]["values"]["model"] == report.value("pairs", "right")
    with pytest.raises(ModelError, match="it does not say how likely a text is"):
        evaluate(judge, None, EvaluateOptions(suites=("tasks",), tasks=asked(tmp_path)))


def asked(folder):
    """A file of one question."""
    path = folder / "tasks.jsonl"
    path.write_text('{"question": "the moon", "choices": ["over", "under"], "answer": 0}\n')
    return path


def test_pairs_beyond_the_context_are_left_out_and_said(model, records):
    long = pair("la " * 99, "la")
    report = evaluate(model, records("preference", [*ROWS, long]))
    assert report.value("pairs", "right_by_sum", "count") == 4
    assert "1 pairs are longer than the context" in report.sections["pairs"].note
    few = evaluate(model, records("preference", ROWS[:3]), EvaluateOptions(documents=2))
    assert few.value("pairs", "shorter", "count") == 2
    with pytest.raises(InputError, match="no pair fits the model's context"):
        evaluate(model, records("preference", [long]))


def test_what_cannot_be_compared_is_said(model, records, tmp_path):
    with pytest.raises(InputError, match=r"the held-out split is empty.*'test'"):
        evaluate(model, records("preference", [], ROWS))
    mute = replace(model, parts={})
    mute.family.folder.save(mute, tmp_path)
    with pytest.raises(ModelError, match="not a language model with its tokenizer"):
        evaluate(model, records("preference", ROWS), EvaluateOptions(reference=tmp_path))
