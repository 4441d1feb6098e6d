"""Settings of an evaluation; imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from makar.core.config import Config
from makar.data.chats import Kind

MeasuredSuite = Literal[
    "likelihood",
    "variety",
    "verbatim",
    "verse",
    "answers",
    "pairs",
    "fidelity",
    "agreement",
    "fit",
    "copies",
    "modes",
    "reconstruction",
    "retrieval",
    "zeroshot",
]
AskedSuite = Literal["piqa", "mmlu", "bbq", "crows-pairs", "stereoset", "truthfulqa", "tasks", "scenes"]
Suite = Literal[MeasuredSuite, AskedSuite]

KINDS: Mapping[MeasuredSuite, tuple[Kind | Literal["image"], ...]] = {
    "fidelity": ("image",),
    "agreement": ("image",),
    "fit": ("image",),
    "copies": ("image",),
    "modes": ("image",),
    "reconstruction": ("image",),
    "retrieval": ("image",),
    "zeroshot": ("image",),
    "likelihood": ("text", "image"),
    "variety": ("text",),
    "verbatim": ("text",),
    "verse": ("text",),
    "answers": ("chat", "prompts"),
    "pairs": ("preference",),
}
"""Suites that measure a model beside held-out data, and the kinds of dataset that they can; the others ask."""


def suites_for(kind: str) -> tuple[MeasuredSuite, ...]:
    """All that can be measured beside a dataset of a kind, as its manifest says it."""
    return tuple(suite for suite, kinds in KINDS.items() if kind in kinds)


class EvaluateOptions(Config):
    """What is measured, on what, with how many samples.

    Args:
        suites: In the order of the report; none for all that fit the dataset. "verse" needs the extra `verse`, and so
            does "answers" where the answers are verse.
        tasks: A file of JSON lines for the suite "tasks".
        split: The held-out documents that the model is measured on and beside.
        documents: How many of them the likelihood is taken over, or how many rows or questions of a suite are asked,
            evenly spaced; None for all, but for the 300 prompts that "answers" asks then, and 200 pictures.
        samples: What the model writes to each prompt, and as much again to none (None: 100); or pictures (None: 2,000;
            for "scenes" 400 of each part).
        prompts: Beginnings to continue.
        generation: Settings of the family's sampler, over the model's own defaults.
        seed: Sample k is written with seed + k.
        training_seed: Of the recipe of a model of scenes: it says which ones were learned from, for "scenes".
        training_rows: How many scenes that recipe learned from; None where that is not known.
        siblings: Of that recipe: how many scenes in a row differ in one attribute each.
        training: The dataset that a CLIP was trained on: what no text of it named is measured apart too.
        window: Words in the shortest run that counts as copied.
        reference: The folder of the model that "pairs" compares with, or of the CLIP that judges for "fit".
        features: A feature network to compare pictures by: a TorchScript file, such as Inception for FID, or
            "efficientnet-lite"; None for the dataset's own classifier, which is trained where it is not there yet.
        importance: Samples of the bound by which a variational autoencoder says how likely a picture is.
        bf16: Compute likelihoods in bfloat16: faster on some machines, and good to about 0.01 bits per byte.
    """

    suites: tuple[Suite, ...] = ()
    tasks: Path | None = None
    split: Literal["valid", "test"] = "test"
    documents: int | None = Field(default=None, ge=1)
    samples: int | None = Field(default=None, ge=1)
    prompts: tuple[str, ...] = ()
    generation: dict[str, Any] = {}
    seed: int = 0
    training_seed: int = 0
    training_rows: int | None = Field(default=None, ge=1)
    siblings: int = Field(default=1, ge=1)
    training: Path | None = None
    window: int = Field(default=8, ge=2)
    reference: Path | None = None
    features: Path | None = None
    importance: int = Field(default=500, ge=1)
    bf16: bool = False
