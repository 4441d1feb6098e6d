"""The picture of a run comes from its metrics file alone."""

import json
import sys

import pytest
from matplotlib.figure import Figure

from makar.core.errors import ResourceError
from makar.recipes.charts import draw_loss, loss_curves

LINES = [
    {"kind": "train", "step": 0, "loss": 3.0, "loss_hex": "0x1.8p1", "critic/loss": 1.0},
    {"kind": "train", "step": 1, "loss": 2.5},
    {"kind": "watch", "watch": "validation", "step": 2, "loss": 2.75, "bits_per_byte": 1.5},
    {"kind": "train", "step": 1, "loss": 2.0},
    {"kind": "train", "step": 2, "loss": None},
    {"kind": "watch", "watch": "samples", "step": 2},
]


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES) + '{"kind": "train", "st')
    return path


def test_curves_hold_every_loss_and_the_last_word_on_a_step(metrics):
    assert loss_curves(metrics) == {
        "loss": [(0, 3.0), (1, 2.0)],
        "critic/loss": [(0, 1.0)],
        "validation/loss": [(2, 2.75)],
    }


def test_the_picture_has_a_title_axes_and_both_losses(metrics, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, out, **_: drawn.append(figure))
    draw_loss(metrics, tmp_path / "loss.png", "run x")
    (axes,) = drawn[0].axes
    assert axes.get_title() == "run x"
    assert axes.get_xlabel() == "optimizer step"
    assert axes.get_ylabel() == "loss (nats)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "critic, training", "validation"]


def test_without_matplotlib_the_fix_is_named(metrics, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ResourceError, match=r"makar\[charts\]"):
        draw_loss(metrics, tmp_path / "loss.png", "x")
    assert not (tmp_path / "loss.png").exists()
