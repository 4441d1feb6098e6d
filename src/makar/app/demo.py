"""`makar demo`: a shipped recipe, told step by step. It has no path of its own: it calls what every command calls."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from makar.app import api, present, terminal

RECIPE = "demo"
PROMPT = "Write a poem about the moon."
SEED = 2
DOCUMENTS = 400
"""Held-out poems that are scored: all of them would take longer than the training."""

STAGES = {
    "pretrain": "Pretraining: it reads verse and learns to foretell what comes next. A plan first, then samples",
    "sft": "Fine-tuning: the poems become answers to a wish for a poem about what they speak of",
    "rlhf": "Reinforcement learning: it writes, and what rhymes is rewarded",
}

NEXT = (
    ('generate {name} "Write a poem about the sea."', "another poem"),
    ('generate {name}/pretrain "The moon"', "go on with a line, as the first stage learned to"),
    ("chat {name}", "ask for one after the other"),
    ("evaluate {name}/pretrain", "all figures: copying, variety, rhyme and meter"),
    ("runs show {name}/rlhf", "all that is known of a stage"),
    ("plan poems", "what a better model would take"),
    ("train poems", "that model, on more of the corpus"),
)


def demo(*, quiet: bool) -> None:
    """Collect real poems, train a model on them in three stages, and let it write after each.

    Started again, it goes on where it was.

    Args:
        quiet: No progress on stderr.
    """
    began = time.monotonic()
    tell("1. The data: a part of the Gutenberg Poetry Corpus, lines of verse from books of the public domain")
    with terminal.training(quiet=quiet) as (say, progress):
        manifest = api.prepare(RECIPE, say=say)
    tell(present.manifest_text(manifest), heading=False)
    for number, (stage, what) in enumerate(STAGES.items(), 2):
        tell(f"{number}. {what}")
        with terminal.training(quiet=quiet) as (say, progress):
            run = api.train(RECIPE, stage=stage, say=say, progress=progress)
        manifest = api.show(run).manifest
        tell(expected_and_found(manifest), heading=False)
        if stage == "pretrain":
            judge(run, quiet=quiet)
        elif stage == "rlhf":
            tell(rewarded(manifest), heading=False)
        tell(f"  asked for {PROMPT!r} it now writes:")
        model = api.load(run)
        terminal.write(api.stream(model, PROMPT, seed=SEED), ["" if api.answers_questions(model) else PROMPT], 1)
    whole = api.train(RECIPE).parent  # nothing is left to do: this names the three as one
    took = terminal.duration(time.monotonic() - began)
    tell(f"5. All of it is in {whole} ({took} for this start). What to try next")
    tell(present.table([(f"  makar {words.format(name=whole.name)}", what) for words, what in NEXT]), heading=False)


def judge(run: Path, *, quiet: bool) -> None:
    """Bits per byte on poems from books that the model has never seen."""
    report = api.evaluate(run, suites=["likelihood"], documents=DOCUMENTS, say=terminal.say(quiet=quiet))
    section = report.sections["likelihood"]
    bits = section.figures["bits_per_byte"].values
    tell("  poems from books that it has never seen, in bits per byte, beside two compressors on the same bytes:")
    tell(present.table([(f"  {name}", f"{value:.3f}") for name, value in bits.items()]), heading=False)
    tell(f"  {section.note.split('. ')[0]}.", heading=False)


def rewarded(manifest: Mapping[str, Any]) -> str:
    """What held-out wishes earned before and after."""
    found = manifest["outcome"].get("held_out", {})
    names = ("reward", "perplexity", "distinct_2")
    rows = [("  held-out wishes", "before", "after")]
    rows += [
        (f"  {name.replace('_', ' ')}", f"{found[f'{name}_before']:.3f}", f"{found[name]:.3f}")
        for name in names
        if f"{name}_before" in found and name in found
    ]
    return present.table(rows)


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
