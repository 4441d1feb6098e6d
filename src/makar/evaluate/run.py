"""The whole evaluation of a model: what it makes beside what is real, how likely it finds that, and what it knows."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from makar.core.config import parse
from makar.core.errors import InputError
from makar.core.nouns import Model
from makar.core.say import Say
from makar.data.dataset import Dataset
from makar.evaluate.answers import exchanges, sections, training_answers
from makar.evaluate.asking import ask
from makar.evaluate.clip import evaluate_clip
from makar.evaluate.config import KINDS, EvaluateOptions, MeasuredSuite, Suite
from makar.evaluate.held import fitting, measurable
from makar.evaluate.pairs import pairs_section
from makar.evaluate.picture_report import evaluate_pictures
from makar.evaluate.report import Report, Section
from makar.evaluate.scenes import evaluate_scenes
from makar.evaluate.sights import evaluate_sights
from makar.evaluate.suites import SUITES, Material, check_reads_text
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
    """Measure a language model, on pairs a reward model, a model of pictures, or one that sees and talks.

    Args:
        model: Of language with its tokenizer.
        dataset: What it was trained on, with the held-out split that it was not; suites that ask need none.
        options: What is measured.
        name: What the report calls the model.
        say: Told what is being done.

    Raises:
        ModelError: It is no language model, or has no tokenizer.
        InputError: There is no dataset although a suite needs one, or none that the suite can use.
        RecipeError: A setting of generation that the family does not know.
        UserError: A package is missing that a suite needs.
    """
    if options.generation:
        if model.family.name in ("clip", "llava"):
            what = "it is measured without settings of generation"
            raise InputError(what, where=name, value=options.generation, fix="leave them out")
        parse(model.family.settings, {**model.generation, **options.generation}, "generation settings")
    if model.family.name == "clip":
        return evaluate_clip(model, dataset, options, name=name, say=say)
    if model.family.name == "llava":
        return evaluate_sights(model, options, name=name, say=say)
    if "scenes" in options.suites:
        return evaluate_scenes(model, options, name=name, say=say)
    if "images" in model.family.inputs:
        return evaluate_pictures(model, dataset, options, name=name, say=say)
    check_reads_text(model, name)
    if dataset is not None and dataset.manifest.kind == "image":
        fix = "name a dataset of text with --data"
        raise InputError("a model of text, and a dataset of pictures", where=dataset.path, fix=fix)
    suites = options.suites or fitting(dataset)
    material = material_of(model, dataset, suites, options, say)
    found: dict[str, Section] = {}
    samples: list[str] = []
    for suite in suites:
        if material is None or suite not in KINDS:
            found[suite] = ask(model, suite, options, say)
        elif suite == "answers":
            asked = exchanges(material)
            found |= sections(asked, options.seed, partial(training_answers, material))
            samples = [f"{each.question}\n\n{each.answer}" for each in asked[:SHOWN]]
        elif suite == "pairs":
            found[suite] = pairs_section(material)
        else:
            found[suite] = SUITES[suite](material)
            samples = samples if suite == "likelihood" else [sample.whole for sample in material.samples[:SHOWN]]
    generation = material.settings.model_dump() if material else options.generation
    return Report(
        model=name,
        dataset=str(dataset.path) if dataset else "",
        dataset_hash=dataset.hash if dataset else "",
        settings={**options.model_dump(mode="json"), "suites": suites, "generation": generation},
        sections=found,
        samples=tuple(samples),
    )


def material_of(
    model: Model[Any], dataset: Dataset | None, suites: Sequence[Suite], options: EvaluateOptions, say: Say
) -> Material | None:
    """What the suites measure beside a dataset; None if all of them only ask.

    Raises:
        InputError: There is no dataset, it is of another kind than a suite measures, or its held-out split is empty.
        UserError: The suite "verse" lacks its dictionary.
    """
    measured: list[MeasuredSuite] = [suite for suite in KINDS if suite in suites]
    if not measured:
        return None
    dataset = measurable(dataset, measured, options.split)
    if "verse" in measured:
        dictionary()
    return Material(model, dataset, options, say)
