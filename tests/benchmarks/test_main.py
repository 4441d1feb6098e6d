"""`python -m benchmarks`: one JSON document, whatever is missing."""

import json
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as benchmarks


@pytest.fixture
def fake(monkeypatch):
    """Benchmarks that take no time; the one named is without its peer."""

    def install(without):
        def load(name):
            if name == without:
                raise ModuleNotFoundError("No module named 'peer'", name="peer")
            return SimpleNamespace(run=lambda: {"ratio": 2.0})

        monkeypatch.setattr(benchmarks, "load", load)

    return install


def test_all_figures_are_one_document(fake, capsys):
    fake(without=None)
    assert benchmarks.main(["data", "plan"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["machine", "data", "plan"]
    assert document["data"] == {"ratio": 2.0}
    assert document["machine"]["threads"] == 1


def test_a_missing_peer_is_said_and_the_others_run(fake, capsys):
    fake(without="data")
    assert benchmarks.main(["data", "plan"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["data"] == {"missing": "peer"}
    assert json.loads(out)["plan"] == {"ratio": 2.0}
    assert "data needs peer" in err


def test_an_unknown_name_is_refused(capsys):
    assert benchmarks.main(["speed"]) == 2
    assert "no such benchmark: speed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault", [ModuleNotFoundError("No module named 'makar.nothing'", name="makar.nothing"), AssertionError("unequal")]
)
def test_a_fault_of_our_own_is_said_and_the_others_run(monkeypatch, capsys, fault):
    def run():
        raise fault

    monkeypatch.setattr(
        benchmarks, "load", lambda name: SimpleNamespace(run=run if name == "data" else lambda: {"ratio": 2.0})
    )
    assert benchmarks.main(["data", "plan"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["data"] == {"failed": f"{type(fault).__name__}: {fault}"}
    assert json.loads(out)["plan"] == {"ratio": 2.0}
    assert "Traceback" in err


def test_what_was_measured_outlives_an_interruption(monkeypatch, capsys):
    def run():
        raise KeyboardInterrupt

    monkeypatch.setattr(
        benchmarks, "load", lambda name: SimpleNamespace(run=run if name == "plan" else lambda: {"ratio": 2.0})
    )
    with pytest.raises(KeyboardInterrupt):
        benchmarks.main(["data", "plan"])
    assert json.loads(capsys.readouterr().out)["data"] == {"ratio": 2.0}
