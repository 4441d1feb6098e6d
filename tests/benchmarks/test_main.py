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


def test_a_fault_of_our_own_is_no_missing_peer(monkeypatch):
    def load(name):
        raise ModuleNotFoundError("No module named 'makar.nothing'", name="makar.nothing")

    monkeypatch.setattr(benchmarks, "load", load)
    with pytest.raises(ModuleNotFoundError):
        benchmarks.main(["data"])
