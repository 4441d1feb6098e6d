"""The table of rewards: what each rule gives, and what is said of one that fails."""

import inspect
from dataclasses import replace

import pytest

from makar.align.config import beside
from makar.align.functions import source_hash
from makar.align.rewards import RULES, Case, earn, make_rewards
from makar.core.errors import InputError, RecipeError

COUPLETS = "The moon is high\nagainst the sky\nThe sea is deep\nand I must sleep\n"


def value(name, answer, row=None, reason="stop", **options):
    (reward,) = make_rewards({name: options})
    return earn([reward], [Case("", answer, row or {}, reason)])[reward.name][0]


def test_rhyme_counts_lines_and_wants_different_ends():
    assert value("rhyme", COUPLETS) == 1.0
    assert value("rhyme", COUPLETS, scheme="couplet") == 1.0
    assert value("rhyme", COUPLETS, scheme="alternating") == 0.0
    assert value("rhyme", "one\nhouse\ntable\nriver") == 0.0
    assert value("rhyme", "") == 0.0
    assert value("rhyme", "the high\nthe sky\n" * 4) == pytest.approx(2 / 8)


def test_a_rhyme_that_others_use_too_is_worth_less():
    (reward,) = make_rewards({"rhyme": {"fresh": 0.25}})
    cases = [Case("", text) for text in ("a tree\nthe sea", "to me\nand thee", "of me\nand we", "house\ntable")]
    assert earn([reward], cases)["rhyme"] == [1.0, pytest.approx(0.75), pytest.approx(0.75), 0.0]
    (reward,) = make_rewards({"rhyme": {"fresh": 0.5}})
    assert earn([reward], cases)["rhyme"] == [1.0, 1.0, 1.0, 0.0]
    with pytest.raises(RecipeError, match="no share"):
        make_rewards({"rhyme": {"fresh": 0.0}})


def test_meter_wants_a_poem():
    poem = "The curfew tolls the knell of parting day,\nThe lowing herd winds slowly o'er the lea,\n"
    poem += "The ploughman homeward plods his weary way,\nAnd leaves the world to darkness and to me.\n"
    assert value("meter", poem) == 1.0
    assert value("meter", "\n".join(poem.splitlines()[:3])) == 0.0


@pytest.mark.parametrize(("count", "wanted"), [(0, 0.0), (2, 0.5), (4, 1.0), (8, 1.0), (16, 0.5)])
def test_length_falls_off_in_proportion(count, wanted):
    assert value("length", "word " * count, low=4, high=8) == wanted


def test_variety_counts_pairs_that_nobody_else_has():
    (reward,) = make_rewards({"variety": 1.0})
    cases = [Case("", text) for text in ("the moon is up", "The moon is down", "a star", "one", "so so so")]
    assert earn([reward], cases)["variety"] == [pytest.approx(1 / 3), pytest.approx(1 / 3), 1.0, 0.0, 0.0]
    (reward,) = make_rewards({"variety": {"enough": 0.5}})
    assert earn([reward], cases)["variety"] == [pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0, 0.0, 0.0]
    with pytest.raises(RecipeError, match="no share"):
        make_rewards({"variety": {"enough": 1.5}})


def test_a_poem_keeps_to_its_topic():
    wish = Case("Write a poem about the stars.", "A star was seen,\nand no sea.")
    (judge,) = make_rewards({"topic": 1.0})
    assert judge.judge([wish]) == [1.0]
    others = [replace(wish, answer="The start of it."), replace(wish, prompt="What is a star?")]
    assert judge.judge(others) == [0.0, 0.0]


def test_forms_and_matches():
    assert value("format", " <a>\n1</a>\n", pattern="<a>.*</a>") == 1.0
    assert value("format", "x <a>1</a>", pattern="<a>.*</a>") == 0.0
    assert value("regex", "x <a>1</a>", pattern="<a>.*</a>") == 1.0
    assert value("exact", " 42 \n", {"answer": 42}) == 1.0
    assert value("exact", "it is 41, no, 42.", {"sum": "42"}, field="sum", pattern=r"\d+") == 1.0
    assert value("exact", "it is =7=", {"answer": "7"}, pattern=r"=(\d)=") == 1.0
    assert value("exact", "no number", {"answer": "7"}, pattern=r"\d") == 0.0
    assert value("stop", "x", reason="length") == 0.0
    assert value("stop", "x") == 1.0


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def ends(prompt, answer, row):\n    return answer.endswith(row['end'])\n"
        "def broken(prompt, answer, row):\n    return 1 / len(answer)\n"
        "def nan(prompt, answer, row):\n    return float('nan') if answer == 'b' else 0\n"
    )
    return tmp_path


def test_a_persons_function_is_loaded_from_beside_the_recipe(module):
    table = beside({"python": {"function": "mine:ends"}, "stop": 1.0}, module)
    assert table["python"]["function"] == f"{module}/mine.py:ends"
    rewards = make_rewards(table)
    cases = [Case("", "abc", {"end": "c"}), Case("", "abd", {"end": "c"})]
    assert earn(rewards, cases) == {"python": [1.0, 0.0], "stop": [1.0, 1.0]}
    before = source_hash(table)
    (module / "mine.py").write_text("ends = lambda *_: 0")
    assert source_hash(table) != before
    assert source_hash({"stop": 1.0}) is None


@pytest.mark.parametrize(
    ("name", "answers", "said"),
    [
        ("broken", ["a", ""], "mine.py:broken, row 8: the reward raised ZeroDivisionError: division by zero"),
        ("nan", ["a", "c", "b"], "mine.py:nan, row 9: the reward gave nan (got 'b')"),
    ],
)
def test_a_reward_that_fails_is_named_with_its_row(module, name, answers, said):
    rewards = make_rewards(beside({"python": {"function": f"mine:{name}"}}, module))
    with pytest.raises(InputError) as fault:
        earn(rewards, [Case("", answer) for answer in answers], first=7)
    assert said in str(fault.value)


def test_a_record_without_the_field_is_named():
    with pytest.raises(InputError, match=r"reward exact, row 0: the prompt's record has no field 'answer'"):
        value("exact", "7", {"answers": 7})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "no reward"),
        ({"rhime": 1.0}, "did you mean 'rhyme'?"),
        ({"rhyme": {"schema": "x"}}, "did you mean 'scheme'?"),
        ({"rhyme": {"scheme": "sonnet"}}, "it must be 'rhymed', 'couplet', 'alternating' or 'enclosed'"),
        ({"length": {"low": "few"}}, "it must be a valid integer"),
        ({"format": 1.0}, "option 'pattern' is missing"),
        ({"stop": "much"}, "not a number"),
        ({"stop": float("nan")}, "not a number"),
        ({"regex": {"pattern": "("}}, "not a regular expression: missing ), unterminated subpattern at position 0"),
        ({"regex": {"pattern": "("}}, "; mend it there: a backslash makes ("),
        ({"length": {"low": 9, "high": 3}}, "no length is within the bounds (got '9 to 3'); give bounds from 0 up"),
        ({"length": {"low": -1}}, "no length is within the bounds"),
        ({"python": {"function": "mine"}}, "write it as module:function"),
        ({"python": {"function": "nowhere.py:f"}}, "no such file"),
    ],
)
def test_a_reward_that_cannot_be_made_is_refused(table, said):
    with pytest.raises(RecipeError) as fault:
        make_rewards({k: v if v != "much" else {"weight": v} for k, v in table.items()})
    assert said in str(fault.value)


def test_a_module_that_does_not_load_is_refused(module):
    (module / "bad.py").write_text("import nothing_of_that_name")
    for function, said in (("bad:f", "ModuleNotFoundError"), ("mine:end", "did you mean 'ends'?")):
        with pytest.raises(RecipeError) as fault:
            make_rewards(beside({"python": {"function": function}}, module))
        assert said in str(fault.value)


def test_every_rule_is_described():
    assert all(inspect.getdoc(rule) for rule in RULES.values())
