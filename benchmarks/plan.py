"""The plan against what then happens: memory and time of whole runs, each in a process of its own."""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPEATS = 3

WORDS = 2000
POEMS = 3000

SIZES = {
    "1 M / 256": {"hidden_size": 128, "num_hidden_layers": 4, "batch": 8, "length": 256, "steps": 40},
    "6 M / 256": {"hidden_size": 256, "num_hidden_layers": 6, "batch": 8, "length": 256, "steps": 12},
}

RECIPE = """
[data]
sources = ["poems.jsonl"]
collect = {{ valid_fraction = 0.05 }}
length = {length}
[model]
family = "language"
vocab_size = 4096
hidden_size = {hidden_size}
num_hidden_layers = {num_hidden_layers}
qk_norm = true
[train]
steps = {steps}
batch_size = {batch}
optimizer = {{ name = "muon", learning_rate = 0.01 }}
"""


def run() -> dict[str, Any]:
    """Train each size a few times.

    Returns:
        By size: what was planned and what happened, and the median of happened over planned.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder, "poems.jsonl"))
        return {name: compare(Path(folder), size) for name, size in SIZES.items()}


def compare(folder: Path, size: dict[str, int]) -> dict[str, Any]:
    """Plan and train one size; the time and memory of both."""
    (folder / "recipe.toml").write_text(RECIPE.format(**size), encoding="utf-8")
    found: list[dict[str, float]] = []
    for repeat in range(REPEATS):
        out = folder / "-".join(map(str, (*size.values(), repeat)))
        command = [sys.executable, "-m", "makar", "train", "recipe.toml", "--run", str(out), "--quiet"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        plan, outcome = manifest["plan"], manifest["outcome"]
        line = (
            f"{plan['seconds']:.1f} s planned, {outcome['training_seconds'] + outcome['watching_seconds']:.1f} s taken"
        )
        print(f"plan: {out.name}: {line}", file=sys.stderr, flush=True)
        found.append(
            {
                "planned_seconds": plan["seconds"],
                "seconds": outcome["training_seconds"] + outcome["watching_seconds"],
                "planned_memory": sum(plan["memory"].values()),
                "memory": outcome["peak_memory"],
            }
        )
    ratios = {what: sorted(run[what] / run[f"planned_{what}"] for run in found) for what in ("seconds", "memory")}
    return {"runs": found} | {f"{what}_over_planned": values[REPEATS // 2] for what, values in ratios.items()}


def write_corpus(path: Path) -> None:
    """Verse of made-up words, each poem its own group."""
    rng = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "on")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(WORDS)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(POEMS):
            lines = [" ".join(rng.choices(words, k=7)) for _ in range(12)]
            file.write(json.dumps({"text": "\n".join(lines)}) + "\n")
