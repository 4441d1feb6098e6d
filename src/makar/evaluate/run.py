"""The whole evaluation of a language model, each figure beside that of real held-out text."""

from typing import Any

from makar.core.errors import InputError, ModelError
from makar.core.nouns import Model
from makar.data.dataset import Dataset
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.report import Report
from makar.evaluate.suites import SUITES, Material, Say
from makar.families.language.config import LanguageConfig
from makar.measure.pronounce import dictionary

SHOWN = 3
"""Samples printed in the report."""


def evaluate(
    model: Model[Any],
    dataset: Dataset,
    options: EvaluateOptions = EvaluateOptions(),  # noqa: B008
    *,
    name: str = "the model",
    say: Say = lambda line: None,  # noqa: ARG005
) -> Report:
    """Measure a language model.

    Args:
        model: With its tokenizer.
        dataset: What it was trained on, with the held-out split that it was not.
        options: What is measured.
        name: What the report calls the model.
        say: Told what is being done.

    Raises:
        ModelError: It is no language model, or has no tokenizer.
        InputError: The held-out split is empty.
        RecipeError: A setting of generation that the family does not know.
        UserError: A package is missing that a suite needs.
    """
    if not isinstance(model.config, LanguageConfig) or "codec" not in model.parts:
        raise ModelError("not a language model with its tokenizer", where=name, fix="evaluate a model that writes text")
    if not dataset.manifest.kept[options.split].documents:
        raise InputError("the held-out split is empty", where=dataset.path, value=options.split, fix="collect more")
    if "verse" in options.suites:
        dictionary()
    material = Material(model, dataset, options, say)
    generation = material.settings.model_dump()
    sections = {suite: SUITES[suite](material) for suite in options.suites}
    wrote = any(suite != "likelihood" for suite in options.suites)
    return Report(
        model=name,
        dataset=str(dataset.path),
        dataset_hash=dataset.hash,
        settings={**options.model_dump(mode="json"), "generation": generation},
        sections=sections,
        samples=tuple(sample.whole for sample in material.samples[:SHOWN]) if wrote else (),
    )
