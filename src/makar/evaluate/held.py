"""Which suites fit a dataset, and whether it has anything to measure beside."""

from collections.abc import Sequence

from makar.core.errors import InputError
from makar.data.dataset import Dataset
from makar.evaluate.config import KINDS, MeasuredSuite, suites_for


def fitting(dataset: Dataset | None) -> tuple[MeasuredSuite, ...]:
    """The suites for a dataset, where none is named.

    Raises:
        InputError: There is no dataset, or no suite for its kind.
    """
    if dataset is None:
        raise InputError("there is no dataset to measure beside", fix="name one with --data")
    suites = suites_for(dataset.manifest.kind)
    if not suites:
        fix = "name another one with --data"
        raise InputError("no suite for this kind of dataset", where=dataset.path, value=dataset.manifest.kind, fix=fix)
    return suites


def measurable(dataset: Dataset | None, suites: Sequence[MeasuredSuite], split: str) -> Dataset:
    """The dataset, if suites can measure beside it.

    Raises:
        InputError: There is none, it is of another kind than a suite measures, or its held-out split is empty.
    """
    if dataset is None:
        raise InputError("there is no dataset to measure beside", value=suites[0], fix="name one with --data")
    for suite in suites:
        if (kind := dataset.manifest.kind) not in KINDS[suite]:
            fix = f"name a dataset of the kind {' or '.join(map(repr, KINDS[suite]))} with --data"
            raise InputError(f"the suite {suite!r} measures no such dataset", where=dataset.path, value=kind, fix=fix)
    if not dataset.manifest.kept[split].documents:
        raise InputError("the held-out split is empty", where=dataset.path, value=split, fix="collect more")
    return dataset
