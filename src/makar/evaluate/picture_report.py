"""The whole evaluation of a model of pictures."""

from collections.abc import Sequence
from typing import Any

from makar.core.errors import InputError, ModelError
from makar.core.nouns import Model
from makar.core.say import Say
from makar.data.dataset import Dataset
from makar.evaluate.config import KINDS, EvaluateOptions, MeasuredSuite, Suite
from makar.evaluate.fit import fit_section
from makar.evaluate.held import fitting, measurable
from makar.evaluate.modes import modes_section
from makar.evaluate.picture_likelihood import can_score, picture_likelihood_section
from makar.evaluate.picture_returned import reconstruction_section
from makar.evaluate.picture_suites import agreement_section, copies_section, fidelity_section, samples_sheet
from makar.evaluate.pictures import PictureMaterial, told_captions
from makar.evaluate.report import Report, Section
from makar.families.pictures import only_gives_back

MADE: frozenset[MeasuredSuite] = frozenset(("fidelity", "agreement", "fit", "copies", "modes"))
"""Suites that look at what a model makes by itself."""


def evaluate_pictures(
    model: Model[Any], dataset: Dataset | None, options: EvaluateOptions, *, name: str, say: Say
) -> Report:
    """Measure a model of pictures.

    Args:
        model: Of any family that makes pictures, or says how likely they are.
        dataset: What it was trained on, with the held-out split that it was not.
        options: What is measured.
        name: What the report calls the model.
        say: Told what is being done.

    Raises:
        InputError: The dataset holds no pictures, or a suite needs classes that it or the model does not have.
        ModelError: A suite needs what the model cannot do.
    """
    named: list[MeasuredSuite] = [measured(suite) for suite in options.suites]
    dataset = measurable(dataset, named or fitting(dataset), options.split)
    suites: list[MeasuredSuite] = named or applicable(model, dataset, options)
    check(model, dataset, suites, options)
    material = PictureMaterial(model, dataset, options, say)
    found: dict[str, Section] = {}
    sheets: dict[str, Any] = {}
    lines: dict[str, Any] = {}
    for suite in suites:
        if suite == "likelihood":
            found[suite] = picture_likelihood_section(material)
        elif suite == "fidelity":
            found[suite] = fidelity_section(material)
        elif suite == "agreement":
            found[suite] = agreement_section(material)
        elif suite == "fit":
            found[suite] = fit_section(material)
        elif suite == "modes":
            found[suite] = modes_section(material)
        elif suite == "reconstruction":
            found[suite], sheets["reconstructions"] = reconstruction_section(material)
        else:
            found[suite], sheets["neighbours"], lines["neighbours"] = copies_section(material)
    if set(suites) & MADE:
        sheets["samples"] = samples_sheet(material.samples)
    return Report(
        model=name,
        dataset=str(dataset.path),
        dataset_hash=dataset.hash,
        settings={
            **options.model_dump(mode="json"),
            "suites": suites,
            "samples": len(material.samples) if "samples" in sheets else options.samples,
            "generation": material.settings.model_dump(mode="json"),
        },
        sections=found,
        samples=(),
        pictures=sheets,
        lines=lines,
    )


def measured(suite: Suite) -> MeasuredSuite:
    """A suite that measures pictures.

    Raises:
        InputError: It asks models of text.
    """
    fits: list[MeasuredSuite] = [each for each, kinds in KINDS.items() if "image" in kinds]
    for each in fits:
        if each == suite:
            return each
    raise InputError("the suite measures no pictures", value=suite, fix=f"of pictures there are: {', '.join(fits)}")


def applicable(model: Model[Any], dataset: Dataset, options: EvaluateOptions) -> list[MeasuredSuite]:
    """The suites of pictures that a model can be measured by."""
    makes = model.family.sampler is not None and not only_gives_back(model.family)
    fits: dict[MeasuredSuite, bool] = {
        "fidelity": makes,
        "agreement": makes and classes_of(model, dataset),
        "fit": makes and told_captions(model, dataset) and options.reference is not None,
        "copies": makes,
        "reconstruction": model.family.reconstructs,
        "modes": False,  # only of stacked pictures, which a dataset does not say
        "likelihood": can_score(model),
    }
    return [suite for suite, fit in fits.items() if fit]


def classes_of(model: Model[Any], dataset: Dataset) -> bool:
    """Whether the model can be asked for the classes of a dataset."""
    known: int = getattr(model.config.net, "num_classes", 0) or 0  # pyright: ignore[reportAttributeAccessIssue]
    facts = dataset.manifest.pictures
    return facts is not None and known > 1 and known == len(facts.classes)


def check(model: Model[Any], dataset: Dataset, suites: Sequence[MeasuredSuite], options: EvaluateOptions) -> None:
    """Refuse what cannot be measured before anything is made.

    Raises:
        InputError: The classes of model and dataset are others, or there are none; or no captions, or nobody to judge.
        ModelError: The family makes no pictures.
    """
    if found := {"retrieval", "zeroshot"} & set(suites):
        fix = "measure a CLIP by it"
        raise ModelError("this family does not find texts", value=f"{model.family.name}: {found.pop()}", fix=fix)
    if "agreement" in suites and not classes_of(model, dataset):
        fix = "leave the suite 'agreement' out"
        raise InputError("the model cannot be asked for the classes of this dataset", where=dataset.path, fix=fix)
    if "fit" in suites and not told_captions(model, dataset):
        fix = "leave the suite 'fit' out"
        raise InputError("the model cannot be told captions of this dataset", where=dataset.path, fix=fix)
    if "fit" in suites and options.reference is None:
        raise InputError("no CLIP judges how pictures fit", where="fit", fix="name one: --reference CLIP")
    if "reconstruction" in suites and not model.family.reconstructs:
        fix = "leave the suite 'reconstruction' out"
        raise ModelError("this family gives no pictures back", value=model.family.name, fix=fix)
    if set(suites) & MADE and model.family.sampler is None:
        raise ModelError("this family cannot generate", value=model.family.name, fix="measure its likelihood alone")
