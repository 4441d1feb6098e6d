"""The README's picture comes from a run folder alone."""

import json

import pytest
from PIL import Image

from makar.core.files import write_json
from makar.recipes.run import Run
from scripts import picture


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "poems"
    (folder / "samples").mkdir(parents=True)
    write_json(folder / "manifest.json", {"parameters": 2_164_928})
    lines = [{"kind": "train", "step": step, "loss": 8 / (1 + step / 50)} for step in range(400)]
    lines += [{"kind": "watch", "watch": "validation", "step": 100 * k, "loss": 8 / (1 + 2 * k)} for k in (1, 2, 3, 4)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in (25, 50, 100, 200, 300, 400):
        (folder / "samples" / f"step-{step:08d}.txt").write_text(f"The moon at {step}\nshone\n---\nanother\n")
    return Run(folder)


def test_it_is_a_picture_of_1600_pixels(run, tmp_path):
    figure = picture.picture(run)
    figure.savefig(tmp_path / "learning.png")
    with Image.open(tmp_path / "learning.png") as image:
        assert image.size == (1600, 1024)
    words = [text.get_text() for text in figure.texts]
    assert words[0] == "poems: 2.2 M parameters learning to write verse"
    assert {"step 25", "step 100", "step 400", "The moon at 400"} <= set(words)
    assert not any("another" in line for line in words)


def test_both_losses_are_drawn_as_they_are(run):
    faint, average, held_out = picture.picture(run).axes[0].lines[:3]
    assert list(faint.get_ydata()) == pytest.approx([8 / (1 + step / 50) for step in range(400)])
    assert list(held_out.get_xdata()) == [100, 200, 300, 400]
    assert average.get_ydata()[-1] == pytest.approx(faint.get_ydata()[-1], rel=0.05)


def test_the_average_does_not_begin_at_zero():
    assert picture.smooth((5.0, 5.0, 5.0, 5.0)) == pytest.approx([5.0] * 4)
