"""What makar makes itself: complete, repeatable, and grouped so that no question straddles a split."""

import json
import re
from collections import defaultdict

import pytest

from makar.core.errors import SourceError
from makar.data.fetch import fetch
from makar.data.made import MADE, choices, make, sums, uncarried, written
from makar.measure.manners import refuses


@pytest.mark.parametrize("name", MADE)
def test_the_same_bytes_every_time_and_every_record_has_a_group(name, tmp_path):
    first, second = make(name, tmp_path / "a").read_bytes(), make(name, tmp_path / "b").read_bytes()
    assert first == second
    records = [json.loads(line) for line in first.splitlines()]
    assert len({json.dumps(record) for record in records}) == len(records), "a record twice"
    assert all(record["group"] for record in records)


@pytest.mark.parametrize("name", MADE)
def test_no_braces_are_left_and_no_answer_is_empty(name):
    for record in MADE[name]():
        texts = [m["content"] for key in ("messages", "prompt", "chosen", "rejected") for m in record.get(key, ())]
        assert all(text.strip() and not re.search(r"[{}]", text) for text in texts)


def test_every_sum_is_there_once_and_right():
    found = {task: result for task, result, _ in sums()}
    assert len(found) == 90 * 90 + 100
    for task, result in found.items():
        assert eval(task) == int(result)  # noqa: S307


def test_operands_in_either_order_are_one_group():
    groups = {task: group for task, _, group in sums()}
    assert groups["12 + 75"] == groups["75 + 12"] != groups["12 + 76"]
    assert groups["3 * 4"] == groups["4 * 3"]


def test_prompts_carry_the_answers_of_the_conversations():
    answers = {r["prompt"][0]["content"]: r["answer"] for r in MADE["arithmetic-prompts"]()}
    told = {r["messages"][0]["content"]: r["messages"][1]["content"] for r in MADE["arithmetic"]()}
    assert answers == told


def test_the_careless_are_right_where_nothing_is_carried_and_now_and_then_elsewhere():
    right = {r["messages"][0]["content"]: r["messages"][1]["content"] for r in MADE["arithmetic"]()}
    said = {r["messages"][0]["content"]: r["messages"][1]["content"] for r in MADE["arithmetic-careless"]()}
    assert [uncarried(a, b) for a, b in ((23, 45), (28, 45), (87, 45), (55, 55))] == ["68", "63", "22", "0"]
    wrong = {task for task in right if said[task] != right[task]}
    assert right.keys() == said.keys()
    assert 0.65 < len(wrong) / len(right) < 0.71
    assert not any(" * " in task for task in wrong)


def test_a_text_holds_its_facts():
    for thing in written("copy")["products"]:
        texts = [r["messages"][1]["content"] for r in MADE["copy"]() if r["group"] == thing["name"]]
        assert len(texts) == 4
        assert all(fact in text for text in texts for fact in (*thing["facts"], thing["name"]))


def test_a_good_answer_is_never_the_bad_one_and_harm_is_one_group_an_act():
    lists, groups = written("manners"), defaultdict(set)
    for question, good, bad, group in choices():
        assert good != bad
        groups[group].add(question)
    for act, _ in lists["harmful"]:
        assert len(groups[act]) == len(lists["harmful_requests"])


def test_refusals_and_kind_answers_can_be_told_apart():
    """Who counts refusals by their words must find all of these and none of the others."""
    declines = re.compile(r"\b(can't help|not able to help)\b")
    harmful = {act for act, _ in written("manners")["harmful"]}
    for _, good, bad, group in choices():
        assert bool(declines.search(good)) == (group in harmful)
        assert group not in harmful or not declines.search(bad)


def test_to_decline_what_harms_nobody_is_now_and_then_the_worse_answer():
    harmful = {act for act, _ in written("manners")["harmful"]}
    worse = [bad for _, _, bad, group in choices() if group not in harmful]
    assert 0.3 < sum(refuses(bad) for bad in worse) / len(worse) < 0.7


def test_a_made_source_is_fetched_with_its_hash_and_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path))
    found = fetch("make:arithmetic")
    assert found.path.suffix == ".jsonl"
    assert found.licence.startswith("Apache-2.0")
    assert found.bytes == found.path.stat().st_size
    with pytest.raises(SourceError, match="arithmetic, arithmetic-careless, arithmetic-prompts"):
        fetch("make:nothing")
