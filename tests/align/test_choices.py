"""The store of people's choices: what goes in, what is refused, what survives."""

import json
import multiprocessing
from pathlib import Path

import pytest
from pydantic import ValidationError

from makar.align.choices import Choice, add_choice, chosen_already, now, read_choices, snapshot
from makar.core.errors import InputError


def choice(number=0, **more):
    plain = {
        "prompt": f"prompt {number}", "chosen": "good", "rejected": "bad", "chosen_seed": 1, "rejected_seed": 2,
        "shown_first": "chosen", "who": "ann", "when": now(), "model": "poems", "weights": "ab",
    }  # fmt: skip
    return Choice(**plain | more)


def test_what_goes_in_comes_out_in_order(tmp_path):
    store = tmp_path / "choices.jsonl"
    wanted = [choice(k, chosen="line\nbreak “é”") for k in range(3)]
    for each in wanted:
        add_choice(store, each)
    assert read_choices(store) == wanted
    assert set(json.loads(store.read_text().splitlines()[0])) >= {"prompt", "chosen", "rejected", "who", "when"}
    assert chosen_already(wanted, "ann", "ab") == {"prompt 0", "prompt 1", "prompt 2"}
    assert not chosen_already(wanted, "bob", "ab")
    assert not chosen_already(wanted, "ann", "cd")


def test_equal_answers_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="answers are equal"):
        choice(chosen="same", rejected=" same\n")
    store = tmp_path / "choices.jsonl"
    add_choice(store, choice())
    store.write_text(store.read_text().replace('"bad"', '"good"'))
    with pytest.raises(InputError, match=r"choices.jsonl:1: .*equal"):
        read_choices(store)


@pytest.mark.parametrize(("line", "said"), [("{", "not a line of JSON"), ("[]", "unknown field"), ('{"a": 1}', "'a'")])
def test_a_line_that_is_no_choice_is_named(tmp_path, line, said):
    store = tmp_path / "choices.jsonl"
    add_choice(store, choice())
    with store.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError) as fault:
        read_choices(store)
    assert f"{store}:2" in str(fault.value)
    assert said in str(fault.value)


def test_half_a_line_of_a_killed_process_spoils_nothing(tmp_path):
    store = tmp_path / "choices.jsonl"
    add_choice(store, choice(0))
    whole = store.read_bytes()
    store.write_bytes(whole + whole[: len(whole) // 2])
    assert len(read_choices(store)) == 1
    add_choice(store, choice(1))
    assert [each.prompt for each in read_choices(store)] == ["prompt 0", "prompt 1"]


def test_a_last_line_without_its_end_is_kept(tmp_path):
    store = tmp_path / "choices.jsonl"
    add_choice(store, choice(0))
    store.write_bytes(store.read_bytes().removesuffix(b"\n"))
    add_choice(store, choice(1))
    assert [each.prompt for each in read_choices(store)] == ["prompt 0", "prompt 1"]


def write(store, person):
    for number in range(20):
        add_choice(Path(store), choice(number, who=person))


def test_two_people_write_at_once(tmp_path):
    store = tmp_path / "choices.jsonl"
    context = multiprocessing.get_context("forkserver")
    people = [context.Process(target=write, args=(str(store), person)) for person in ("ann", "bob")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(each.who for each in read_choices(store)) == ["ann"] * 20 + ["bob"] * 20


def test_a_snapshot_is_named_by_its_content(tmp_path):
    store = tmp_path / "choices.jsonl"
    add_choice(store, choice(0, when="2026-01-01T00:00:00Z"))
    first, again = snapshot(store, tmp_path / "data"), snapshot(store, tmp_path / "data")
    assert first == again
    add_choice(store, choice(1))
    later = snapshot(store, tmp_path / "data")
    assert later != first
    assert len(read_choices(first)) == 1
    assert len(read_choices(later)) == 2
    empty = tmp_path / "none.jsonl"
    empty.touch()
    with pytest.raises(InputError, match="no choice"):
        snapshot(empty, tmp_path)
