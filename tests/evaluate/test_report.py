import json
import math

import pytest

from makar.core.errors import ResourceError
from makar.evaluate.report import Figure, Report, Section, write_report

REPORT = Report(
    model="poems",
    dataset="data/poems",
    dataset_hash="ab" * 32,
    settings={"samples": 2, "generation": {"temperature": 0.8}},
    sections={
        "likelihood": Section(
            "Likelihood",
            "How it was measured.",
            {
                "bits_per_byte": Figure("lower is better", {"model": 1.93456, "xz -9e": 2.7}),
                "word_perplexity": Figure("all bits", {"model": math.inf}),
                "tokens": Figure("scored", {"model": 1234567}),
            },
        ),
        "verbatim": Section(
            "Copies", "Of the training text.", {"copied": Figure("of a|b", {"model": 0.1234, "held-out": None}, "%")}
        ),
    },
    samples=("The moon\n```\n# up", "is down"),
)


def test_json_holds_every_value_with_its_meaning():
    data = json.loads(REPORT.json())
    assert data["sections"]["likelihood"]["figures"]["bits_per_byte"] == {
        "meaning": "lower is better",
        "values": {"model": 1.93456, "xz -9e": 2.7},
        "unit": "",
    }
    assert data["sections"]["likelihood"]["figures"]["word_perplexity"]["values"]["model"] is None
    assert data["settings"]["generation"] == {"temperature": 0.8}
    assert data["samples"] == list(REPORT.samples)


def test_value():
    assert REPORT.value("likelihood", "bits_per_byte", "xz -9e") == 2.7
    assert REPORT.value("likelihood", "tokens", "xz -9e") is None


def test_markdown_is_a_table_a_section():
    lines = REPORT.markdown().splitlines()
    assert lines[0] == "# Evaluation of poems"
    assert "|  | model | xz -9e | what it is |" in lines
    assert "| bits per byte | 1.935 | 2.700 | lower is better |" in lines
    assert "| tokens | 1,234,567 |  | scored |" in lines
    assert r"| copied | 12.3% |  | of a\|b |" in lines
    assert '- generation: `{"temperature": 0.8}`' in lines
    assert "    # up" in lines  # a sample stays a sample, whatever it says
    assert "# up" not in lines


def test_both_files_are_written(tmp_path):
    write_report(REPORT, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["evaluation.json", "evaluation.md"]
    assert (tmp_path / "run" / "evaluation.json").read_text() == REPORT.json()
    assert (tmp_path / "run" / "evaluation.md").read_text() == REPORT.markdown()


def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "no")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(ResourceError, match="no permission"):
        write_report(REPORT, tmp_path / "run")
