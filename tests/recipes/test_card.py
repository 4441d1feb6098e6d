"""The model card says what the manifest says, and no more."""

from makar.recipes.card import card, write_card
from makar.recipes.run import Run

CODE = {"makar": "0.1.0", "commit": None, "python": "3.11", "torch": "2.13", "platform": "Linux"}
BARE = {"name": "toy", "recipe": "ab" * 32, "seed": 3, "code": CODE, "started": "2026-01-01T00:00:00+00:00"}
COUNT = {"documents": 1234, "bytes": 56789}
SOURCE = {"name": "pypi:x==1", "licence": "CC0-1.0", "bytes": 1000, "sha256": "cd" * 32}
FULL = BARE | {
    "family": "language",
    "parameters": 1_234_567,
    "units": "tokens",
    "length": 256,
    "averaged": 100.0,
    "parent": {"@base": {"folder": "x", "weights": {"model.safetensors": "ef" * 32}}},
    "data": {
        "hash": "99" * 32,
        "sources": [SOURCE] * 20,
        "read": COUNT,
        "kept": {"train": COUNT},
        "dropped": {"near-duplicate": {"documents": 77, "bytes": 88}},
        "notes": ["a part of the corpus"],
    },
    "tokens": {"train": 4321, "valid": 765},
    "machine": {"processor": "Abacus"},
    "decisions": {"precision": "bf16", "threads": 2, "processes": 1},
    "outcome": {
        "step": 900,
        "weights_of_step": 800,
        "ended_early": "no improvement in 3 looks",
        "training_loss": 2.5,
        "validation": {"loss": 2.25, "bits_per_byte": 1.875},
        "training_seconds": 1234.5,
    },
    "evaluation": {"distinct_2": 0.5},
}


def test_everything_known_is_said():
    text = card(FULL)
    for words in (
        "# toy",
        "1,234,567 parameters",
        "`@base` (efefefefefefefef…)",
        "| `pypi:x==1` | CC0-1.0 | 1,000 | `cdcdcdcdcdcdcdcd…` |",
        "and 8 more",
        "| dropped: near-duplicate | 77 | 88 |",
        "- a part of the corpus",
        "4,321 tokens to train on, 765 to validate",
        "99" * 32,
        "| weights kept are those of step | 800 |",
        "| averaged over steps, half-life | 100.0 |",
        "no improvement in 3 looks",
        "Abacus",
        "bf16",
        "| validation bits per byte | 1.8750 |",
        "| distinct 2 | 0.5000 |",
        "rows of 256 tokens",
    ):
        assert words in text, words
    assert text.startswith("---\ntags:\n- makar\n- language\nlibrary_name: transformers\n---\n")


def test_an_average_over_a_share_of_the_steps_is_said():
    assert "| averaged over a share of the steps | 0.05 |" in card(FULL | {"averaged": None, "averaged_share": 0.05})


def test_what_is_not_known_is_left_out():
    text = card(BARE)
    assert "## Data" not in text
    assert "parameters" not in text
    assert "None" not in text
    assert "## Limits" in text


def test_an_evaluation_is_added_later(tmp_path):
    run = Run(tmp_path)
    run.begin({"seed": 1}, FULL | {"evaluation": {}})
    run.model.mkdir()
    write_card(run)
    assert "distinct 3" not in (run.model / "README.md").read_text()
    run.note(evaluation={"distinct_3": 0.75})
    write_card(run)
    assert "| distinct 3 | 0.7500 |" in (run.model / "README.md").read_text()
