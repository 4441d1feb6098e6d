"""Settings of an evaluation; imports no torch."""

from typing import Any, Literal

from pydantic import Field

from makar.core.config import Config

Suite = Literal["likelihood", "variety", "verbatim", "verse"]


class EvaluateOptions(Config):
    """What is measured, on what, with how many samples.

    Args:
        suites: In the order of the report. "verse" needs the extra `verse`.
        split: The held-out documents that the model is measured on and beside.
        documents: How many of them the likelihood is taken over, evenly spaced; None for all.
        samples: What the model writes to each prompt, and as much again to none.
        prompts: Beginnings to continue.
        generation: Settings of the family's sampler, over the model's own defaults.
        seed: Sample k is written with seed + k.
        window: Words in the shortest run that counts as copied.
        bf16: Compute the likelihood in bfloat16: faster on some machines, and good to about 0.01 bits per byte.
    """

    suites: tuple[Suite, ...] = ("likelihood", "variety", "verbatim", "verse")
    split: Literal["valid", "test"] = "test"
    documents: int | None = Field(default=None, ge=1)
    samples: int = Field(default=100, ge=1)
    prompts: tuple[str, ...] = ()
    generation: dict[str, Any] = {}
    seed: int = 0
    window: int = Field(default=8, ge=2)
    bf16: bool = False
