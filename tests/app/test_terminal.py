"""What goes to the terminal: progress, streamed answers, JSON."""

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from makar.app import terminal
from makar.core.errors import InputError
from makar.core.nouns import Chunk
from makar.train.metrics import Progress


def progress(step, steps=100, **more):
    given = {"loss": 3.25, "rate": 12345.0, "units": "tokens", "seconds_left": 200.0, "peak_share": 0.61}
    return Progress(step, steps, **given | more)


def test_the_numbers_of_a_line():
    assert terminal.numbers(progress(1)) == "loss 3.250  12.3k tokens/s  61% of peak  3:20 left"
    assert terminal.numbers(progress(1, peak_share=None, seconds_left=float("inf"))) == "loss 3.250  12.3k tokens/s"


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59.6, "1:00"), (200.0, "3:20"), (3765.0, "1:02:45")])
def test_durations(seconds, said):
    assert terminal.duration(seconds) == said


@pytest.mark.parametrize(("value", "said"), [(740.0, "740"), (12345.0, "12.3k"), (1.25e6, "1.25M"), (3.64e11, "364G")])
def test_quantities(value, said):
    assert terminal.quantity(value) == said


def test_plain_lines_come_seldom_and_the_last_one_always(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    show = terminal.lines()
    for step in range(1, 101):
        now[0] = step * 0.25
        show(progress(step))
    out, err = capsys.readouterr()
    shown = [line.split()[1] for line in err.splitlines()]
    assert shown == ["1/100", "41/100", "81/100", "100/100"]
    assert not out


def test_quiet_says_nothing(capsys):
    with terminal.training(quiet=True) as (say, show):
        say("a word")
        show(progress(100))
    assert capsys.readouterr() == ("", "")


def test_the_second_process_of_torchrun_says_nothing(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with terminal.training(quiet=False) as (say, show):
        say("a word")
        show(progress(100))
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal():
    """stderr is a real pseudo-terminal: words scroll by, the bar shows the numbers, stdout stays empty."""
    code = (
        "from makar.app import terminal\nfrom makar.train.metrics import Progress\n"
        "with terminal.training(quiet=False) as (say, show):\n"
        "    show(Progress(40, 100, 3.25, 12345.0, 'tokens', 200.0, 0.61))\n    say('a [word] at step 40')\n"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=follower, env=environment, check=True, timeout=60
    )
    os.close(follower)
    seen = re.sub(r"\x1b\[[\d;?]*\w", "", os.read(leader, 100_000).decode())
    os.close(leader)
    assert done.stdout == b""
    assert "a [word] at step 40" in seen
    assert "40/100 loss 3.250  12.3k tokens/s  61% of peak  3:20 left" in seen


def test_answers_come_in_order_though_they_are_made_together(capsys):
    chunks = [
        Chunk(0, " shone"), Chunk(1, " rose"), Chunk(1, " high", done=True),
        Chunk(2, " fell", done=True), Chunk(0, " down", done=True),
    ]  # fmt: skip
    terminal.write(chunks, ["The moon", "The sun", "Rain"], 1)
    assert capsys.readouterr().out == "The moon shone down\n---\nThe sun rose high\n---\nRain fell\n"


def test_the_first_answer_is_shown_as_it_comes(capsys):
    seen = []

    def chunks():
        for piece in ("a", "b", "c"):
            yield Chunk(0, piece, done=piece == "c")
            seen.append(capsys.readouterr().out)

    terminal.write(chunks(), ["> "], 1)
    assert seen == ["> a", "b", "c\n"]


def test_a_refused_answer_is_said_on_stderr(capsys):
    terminal.write([Chunk(0, None, done=True, reason="refused", info={"refusal": "no"})], ["x"], 1)
    out, err = capsys.readouterr()
    assert out == "x\n"
    assert err == "makar: answer 1: no\n"


def test_prompts_from_a_file(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("The moon\n\nThe sea\n")
    assert terminal.prompts(None, file) == ["The moon", "The sea"]
    assert terminal.prompts("Rain", None) == ["Rain"]
    assert terminal.prompts(None, None) == [None]
    assert terminal.prompts("", None) == [""]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe", None])
def test_a_bad_prompt_file_is_refused(tmp_path, content):
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match="prompts.txt"):
        terminal.prompts(None, file)


def test_a_prompt_and_a_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="both"):
        terminal.prompts("Rain", tmp_path / "x")


@dataclass
class Result:
    path: Path
    loss: float
    names: tuple[str, ...]


def test_json_holds_any_result(capsys):
    terminal.emit({"a": Result(Path("x/y"), float("nan"), ("é", "b"))}, str, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": {"path": "x/y", "loss": None, "names": ["é", "b"]}}


def test_a_terminal_is_not_told_what_to_do_by_a_model(capsys, monkeypatch):
    text = "moon\x1b[2J\x07\x9b31m\tshine\n"
    terminal.show(text)
    assert capsys.readouterr().out == text, "a file gets what was written"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    terminal.show(text)
    assert capsys.readouterr().out == "moon�[2J��31m\tshine\n"
