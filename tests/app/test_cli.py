"""The command line: what it imports, its exit codes, what goes to which stream."""

import json
import os
import resource
import subprocess
import sys
import time

import pytest

from makar.app import api
from makar.core.errors import Diverged, RecipeError


def makar(*words, **options):
    """Run a command in a process of its own."""
    options = {"capture_output": True, "text": True, "timeout": 60} | options
    return subprocess.run([sys.executable, "-m", "makar", *words], check=False, **options)


def imported(code):
    """The modules that a piece of Python leaves imported."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.__stderr__)",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.partition(".")[0] for name in json.loads(done.stderr)}


def test_importing_makar_imports_nothing_heavy():
    assert not imported("import makar") & {"torch", "numpy", "pydantic", "typer", "rich"}


def test_help_imports_nothing_heavy():
    code = "from makar.app.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not imported(code) & {"torch", "numpy", "rich", "pyarrow", "tokenizers", "matplotlib"}


def test_help_answers_at_once(record_property):
    makar("--help")  # the first one may compile bytecode
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = makar("--help")
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record_property("wall_seconds", wall)
    record_property("cpu_seconds", busy)
    assert done.returncode == 0
    assert busy < 0.3  # processor time, which other work on the machine stretches less than the clock's


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"], ["runs", "-h"]])
def test_help_goes_to_stdout(words, call):
    out, err = call(*words)
    assert out.strip()
    assert not err


@pytest.mark.parametrize(
    "words",
    [
        ["trian", "poems"],
        ["train"],
        ["generate", "model", "--temperatur", "1"],
        ["generate", "model", "--count", "0"],
        ["generate", "model", "--temperature", "warm"],
        ["runs", "destroy"],
        ["runs", "show"],
    ],
)
def test_misuse_is_one_line_and_exit_code_2(words, call):
    out, err = call(*words, code=2)
    assert not out
    assert err.startswith("makar: ")
    assert err.count("\n") == 1


def test_what_the_reader_can_mend_is_one_line_and_exit_code_2():
    done = makar("train", "pomes-quick")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("makar: ")
    assert "did you mean 'poems-quick'?" in done.stderr


@pytest.mark.parametrize("fault", [ValueError("two\nlines"), Diverged("the loss is not finite at step 7")])
def test_what_the_reader_cannot_mend_is_one_line_and_exit_code_1(fault, call, monkeypatch):
    monkeypatch.setattr(api, "plan", raiser(fault))
    out, err = call("plan", "poems", code=1)
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("makar: ")
    assert ("MAKAR_DEBUG=1" in err) == isinstance(fault, ValueError)


def test_the_traceback_can_be_asked_for(call, monkeypatch):
    monkeypatch.setattr(api, "plan", raiser(RecipeError("wrong", where="here", fix="right it")))
    monkeypatch.setenv("MAKAR_DEBUG", "1")
    err = call("plan", "poems", code=2).err
    assert "Traceback" in err
    assert err.endswith("makar: here: wrong; right it\n")


def test_control_c_is_quiet(call, monkeypatch):
    monkeypatch.setattr(api, "plan", raiser(KeyboardInterrupt()))
    assert call("plan", "poems", code=130).err == "makar: stopped\n"


def test_a_reader_that_leaves_is_no_fault():
    read, write = os.pipe()
    os.close(read)
    done = makar("--help", capture_output=False, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.stderr == ""


def raiser(fault):
    def function(*words, **options):
        raise fault

    return function
