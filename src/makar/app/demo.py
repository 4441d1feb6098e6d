"""`makar demo`: a shipped recipe, told step by step. It has no path of its own: it calls what every command calls."""

import time
from collections.abc import Mapping
from typing import Any

from makar.app import api, present, terminal

RECIPE = "demo"
PROMPT = "The moon"
DOCUMENTS = 400
"""Held-out poems that are scored: all of them would take longer than the training."""

NEXT = (
    ('generate {name} "The moon" --seed 7', "another poem"),
    ("generate {name} --count 3", "three, from nothing"),
    ("evaluate {name}", "all figures: copying, variety, rhyme and meter"),
    ("runs show {name}", "all that is known of the run"),
    ("plan poems", "what a better model would take"),
    ("train poems", "that model, on more of the corpus"),
)


def demo(*, quiet: bool) -> None:
    """Collect real poems, train a model on them, measure it and let it write. Started again, it goes on where it was.

    Args:
        quiet: No progress on stderr.
    """
    began = time.monotonic()
    tell("1. The data: a part of the Gutenberg Poetry Corpus, lines of verse from books of the public domain")
    with terminal.training(quiet=quiet) as (say, progress):
        manifest = api.prepare(RECIPE, say=say)
    tell(present.manifest_text(manifest), heading=False)

    tell("2. The training: a plan first, then a sample about once a minute as it learns")
    with terminal.training(quiet=quiet) as (say, progress):
        run = api.train(RECIPE, say=say, progress=progress)
    state = api.show(run)
    tell(expected_and_found(state.manifest), heading=False)

    tell("3. Poems from books that it has never seen: bits per byte, beside two compressors on the same bytes")
    report = api.evaluate(run, suites=["likelihood"], documents=DOCUMENTS, say=terminal.say(quiet=quiet))
    section = report.sections["likelihood"]
    bits = section.figures["bits_per_byte"].values
    tell(present.table([(f"  {name}", f"{value:.3f}") for name, value in bits.items()]), heading=False)
    tell(f"  {section.note.split('. ')[0]}.", heading=False)

    tell(f"4. A new poem, from {PROMPT!r}")
    terminal.write(api.stream(run, PROMPT), [PROMPT], 1)

    tell(f"5. All of it is in {run} ({terminal.duration(time.monotonic() - began)} for this start). What to try next")
    tell(present.table([(f"  makar {words.format(name=state.name)}", what) for words, what in NEXT]), heading=False)


def tell(text: str, *, heading: bool = True) -> None:
    """A part of the story, on stdout."""
    print(f"\n{text}\n" if heading else text, flush=True)


def expected_and_found(manifest: Mapping[str, Any]) -> str:
    """What the plan said beside what then happened."""
    plan, outcome = manifest.get("plan", {}), manifest["outcome"]
    rows = [("", "planned", "happened")]
    if plan.get("seconds"):
        rows.append(("  time", terminal.duration(plan["seconds"]), terminal.duration(outcome["training_seconds"])))
    if plan.get("memory"):
        rows.append(("  memory", megabytes(sum(plan["memory"].values())), megabytes(outcome["peak_memory"])))
    if plan.get("precision"):
        rows.append(("  precision", plan["precision"], manifest["decisions"]["precision"]))
    return present.table(rows)


def megabytes(count: int) -> str:
    """Bytes in megabytes."""
    return f"{count / 1e6:,.0f} MB"
