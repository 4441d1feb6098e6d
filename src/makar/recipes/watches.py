"""Who looks at a model as it learns: validation judges it, samples show it."""

import time
from collections.abc import Sequence
from typing import Any

from makar.core.files import write_atomic
from makar.core.nouns import Model, Objective, Request, Source, Verdict, Watch
from makar.core.say import Say
from makar.engine.run import Engine
from makar.recipes.run import Run
from makar.train.decisions import read_decisions
from makar.train.validate import validation_loss

BATCH = 16
"""Rows that a validation reads at once, if it does not matter how many they are."""


def validation(
    objective: Objective[Any],
    source: Source,
    *,
    rows: int,
    at_once: int = BATCH,
    seed: int,
    run: Run,
    bits_per_byte: float | None = None,
) -> Watch:
    """A watch that judges by the loss on rows held out; the lowest is the best.

    Args:
        objective: As in training.
        source: Held-out rows; each look reads the same.
        rows: How many.
        at_once: Rows that are read together, which matters where a row's loss depends on the others.
        seed: Of the objective's noise.
        run: Whose precision it looks in.
        bits_per_byte: Of a loss of one nat, where the rows are text.
    """
    size = min(rows, at_once)

    def look(step: int, model: Model[Any]) -> Verdict:  # noqa: ARG001
        start = time.perf_counter()
        precision = read_decisions(run.folder).get("precision", "fp32")
        logs = validation_loss(
            model, objective, source, batches=-(-rows // size), batch_size=size, seed=seed, precision=precision
        )
        score = sum(logs[f"{player}/loss" if player else "loss"] for player in objective.players)
        note = f"validation loss {score:.4f}"
        if bits_per_byte is not None:
            logs["bits_per_byte"] = score * bits_per_byte
            note += f", {logs['bits_per_byte']:.3f} bits per byte"
        return Verdict({**logs, "seconds": time.perf_counter() - start}, score=score, note=note)

    return look


def samples(prompts: Sequence[str], settings: Any, *, seed: int, run: Run, say: Say, chat: bool = False) -> Watch:
    """A watch that lets the model write, keeps what it wrote in `samples/`, and shows the first.

    Args:
        prompts: What each sample begins with.
        settings: The family's settings of generation; None for the model's defaults.
        seed: The same at every look, so that looks compare.
        run: Whose `samples/` it is.
        say: For the reader.
        chat: Prompts are what a user says, and not beginnings.
    """
    asked = [[{"role": "user", "content": prompt}] if chat else prompt or None for prompt in prompts]
    requests = [Request(prompt, seed + row, settings) for row, prompt in enumerate(asked)]

    between = "\n\n" if chat else ""

    def look(step: int, model: Model[Any]) -> Verdict:
        start = time.perf_counter()
        answers = Engine(model).generate(requests)
        texts = [f"{prompt}{between}{answer.data}" for prompt, answer in zip(prompts, answers, strict=True)]
        run.samples.mkdir(exist_ok=True)
        write_atomic(run.samples / f"step-{step:08d}.txt", "\n---\n".join(texts) + "\n")
        say(f"a sample at step {step}:\n{texts[0]}\n")
        return Verdict({"seconds": time.perf_counter() - start})

    return look
