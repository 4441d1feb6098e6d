import json

import pytest

from makar.core.errors import ResourceError
from makar.train.metrics import append, read_metrics


def test_the_last_line_of_a_step_wins(tmp_path):
    file = tmp_path / "metrics.jsonl"
    for step, loss in ((0, 3.0), (1, 2.0), (2, 9.0), (1, 2.5)):
        append(file, {"kind": "train", "step": step, "loss": loss})
    append(file, {"kind": "watch", "watch": "validation", "step": 1, "loss": 7.0})
    assert [line["loss"] for line in read_metrics(file)] == [3.0, 2.5, 9.0]
    assert [line["loss"] for line in read_metrics(file, "watch")] == [7.0]


def test_two_watches_of_a_step_both_stay(tmp_path):
    for name in ("a", "b"):
        append(tmp_path / "m", {"kind": "watch", "watch": name, "step": 1})
    assert [line["watch"] for line in read_metrics(tmp_path / "m", "watch")] == ["a", "b"]


def test_half_a_line_spoils_no_other(tmp_path):
    file = tmp_path / "metrics.jsonl"
    append(file, {"kind": "train", "step": 0})
    with file.open("a") as handle:
        handle.write('{"kind": "train", "st')
    append(file, {"kind": "train", "step": 1})
    assert [line["step"] for line in read_metrics(file)] == [0, 1]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    append(tmp_path / "m", {"kind": "train", "step": 0, "loss": float("nan")})
    assert json.loads((tmp_path / "m").read_text())["loss"] is None


def test_skipped_steps_replace_what_was_logged_of_them(tmp_path):
    append(tmp_path / "m", {"kind": "train", "step": 0, "loss": 1.0})
    append(tmp_path / "m", {"kind": "train", "step": 0, "skipped": True})
    assert read_metrics(tmp_path / "m") == []


def test_no_space_is_said():
    with pytest.raises(ResourceError, match="no space"):
        append(__import__("pathlib").Path("/dev/full"), {"kind": "train", "step": 0})
