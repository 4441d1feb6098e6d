"""The whole evaluation of a language model: its text beside real held-out text, and what it answers."""

from typing import Any

from makar.core.errors import InputError, ModelError
from makar.core.nouns import Model
from makar.data.dataset import Dataset
from makar.evaluate.asking import ask
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.report import Report, Section
from makar.evaluate.suites import SUITES, Material, Say
from makar.families.language.config import LanguageConfig
from makar.measure.pronounce import dictionary

SHOWN = 3
"""Samples printed in the report."""


def evaluate(
    model: Model[Any],
    dataset: Dataset | None,
    options: EvaluateOptions = EvaluateOptions(),  # noqa: B008
    *,
    name: str = "the model",
    say: Say = lambda line: None,  # noqa: ARG005
) -> Report:
    """Measure a language model.

    Args:
        model: With its tokenizer.
        dataset: What it was trained on, with the held-out split that it was not; suites that ask need none.
        options: What is measured.
        name: What the report calls the model.
        say: Told what is being done.

    Raises:
        ModelError: It is no language model, or has no tokenizer.
        InputError: There is no dataset although a suite needs one, it holds no text, or its held-out split is empty.
        RecipeError: A setting of generation that the family does not know.
        UserError: A package is missing that a suite needs.
    """
    if not isinstance(model.config, LanguageConfig) or "codec" not in model.parts:
        raise ModelError("not a language model with its tokenizer", where=name, fix="evaluate a model that writes text")
    texts = [suite for suite in options.suites if suite in SUITES]
    sections: dict[str, Section] = {}
    material: Material | None = None
    if texts:
        if dataset is None:
            raise InputError("there is no dataset to measure beside", value=texts[0], fix="name one with --data")
        kind = dataset.manifest.kind
        if kind != "text":
            fix = "name a dataset of text with --data"
            raise InputError("the dataset holds no text to measure beside", where=dataset.path, value=kind, fix=fix)
        if not dataset.manifest.kept[options.split].documents:
            raise InputError("the held-out split is empty", where=dataset.path, value=options.split, fix="collect more")
        if "verse" in texts:
            dictionary()
        material = Material(model, dataset, options, say)
    for suite in options.suites:
        sections[suite] = SUITES[suite](material) if material and suite in SUITES else ask(model, suite, options, say)
    wrote = material is not None and texts != ["likelihood"]
    generation = material.settings.model_dump() if material else options.generation
    return Report(
        model=name,
        dataset=str(dataset.path) if dataset else "",
        dataset_hash=dataset.hash if dataset else "",
        settings={**options.model_dump(mode="json"), "generation": generation},
        sections=sections,
        samples=tuple(sample.whole for sample in material.samples[:SHOWN]) if material and wrote else (),
    )
