"""Settings of an evaluation; imports no torch."""

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from makar.core.config import Config

TextSuite = Literal["likelihood", "variety", "verbatim", "verse"]
AskedSuite = Literal["piqa", "mmlu", "bbq", "crows-pairs", "stereoset", "truthfulqa", "tasks"]
Suite = Literal[TextSuite, AskedSuite]

TEXTS: tuple[TextSuite, ...] = get_args(TextSuite)
"""Suites that measure what a model writes and how it finds held-out text, beside a dataset; the others ask."""


class EvaluateOptions(Config):
    """What is measured, on what, with how many samples.

    Args:
        suites: In the order of the report. "verse" needs the extra `verse`.
        tasks: A file of JSON lines for the suite "tasks".
        split: The held-out documents that the model is measured on and beside.
        documents: How many of them the likelihood is taken over, or how many questions of a suite are asked, evenly
            spaced; None for all.
        samples: What the model writes to each prompt, and as much again to none.
        prompts: Beginnings to continue.
        generation: Settings of the family's sampler, over the model's own defaults.
        seed: Sample k is written with seed + k.
        window: Words in the shortest run that counts as copied.
        bf16: Compute the likelihood in bfloat16: faster on some machines, and good to about 0.01 bits per byte.
    """

    suites: tuple[Suite, ...] = TEXTS
    tasks: Path | None = None
    split: Literal["valid", "test"] = "test"
    documents: int | None = Field(default=None, ge=1)
    samples: int = Field(default=100, ge=1)
    prompts: tuple[str, ...] = ()
    generation: dict[str, Any] = {}
    seed: int = 0
    window: int = Field(default=8, ge=2)
    bf16: bool = False
