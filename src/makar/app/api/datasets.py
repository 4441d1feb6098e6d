"""A model beside a dataset: measured on it, looking through it, adding to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.app.api.models import load
from makar.core.say import Say, silent

if TYPE_CHECKING:
    from makar.app.anomaly import Score
    from makar.app.search import Found
    from makar.core.nouns import Model
    from makar.data.store import Manifest
    from makar.evaluate.report import Report


BESIDE_REAL = ("neighbours", "reconstructions")
"""Pictures of a report in which some of the dataset stand."""


def evaluate(model: str | Path, data: str | Path | None = None, *, say: Say = silent, **options: Any) -> "Report":
    """Measure a model beside held-out data, or by what it knows, and write the report into its folder.

    Args:
        model: As `load` takes it, but not an open one; a reward model too, which is measured on pairs.
        data: A dataset folder, for the suites that measure beside one; that of the run if not said.
        say: Takes a line on each thing that takes time.
        options: Fields of `evaluate.config.EvaluateOptions`, such as documents=200 or suites=("piqa",); where no suite
            is named, all that fit the dataset; `tasks` alone asks what is in that file; `reference` as `load` takes it.

    Raises:
        UserError: There is no such model or dataset, or a package is missing that a suite needs.
    """
    from makar.align import reward_model
    from makar.core.config import parse
    from makar.data.dataset import Dataset
    from makar.evaluate.config import KINDS, EvaluateOptions
    from makar.evaluate.report import write_report
    from makar.evaluate.run import evaluate as work
    from makar.interop.known import find_model
    from makar.recipes.load import read_toml
    from makar.recipes.provenance import Provenance, maker, write_picture

    given = {"suites": ("tasks",), **options} if options.get("tasks") else options
    chosen = parse(EvaluateOptions, given, "evaluation settings")
    if chosen.reference is not None:
        chosen = chosen.model_copy(update={"reference": find_model(str(chosen.reference), say)})
    folder = find_model(model, say)
    home = home_of(folder)
    if (home / "recipe.toml").is_file():
        recipe = read_toml(home / "recipe.toml")
        said: dict[str, Any] = {"training_seed": recipe.get("seed", 0)}
        if recipe.get("data", {}).get("rows") == "scenes" and "steps" in recipe.get("train", {}):
            said |= {"training_rows": recipe["train"]["steps"] * recipe["train"]["batch_size"]}
            said |= {"siblings": recipe["data"].get("siblings", 1)}
        if recipe.get("data", {}).get("rows") in ("scenes", "scene-talks"):
            said |= {"suites": ("scenes",)} if data is None and not chosen.suites else {}
        elif recipe.get("model", {}).get("family") == "clip" and data is not None:
            said |= {"training": dataset_of(home)}
        if chosen.reference is None and (clip := clip_of(home)) is not None:
            said |= {"reference": clip}
        chosen = chosen.model_copy(update=said)
    beside, name = None, "-".join(("evaluation", *chosen.suites))
    if not chosen.suites or KINDS.keys() & set(chosen.suites):
        beside, name = Dataset.open(data if data is not None else dataset_of(home)), "evaluation"
    opened = reward_model.load(folder) if reward_model.recognises(folder) else load(folder)
    report = work(opened, beside, chosen, name=str(home), say=say)

    def draw(picture: Any, shown: str, place: Path) -> None:
        made, recipe = maker(opened, str(home), folder)
        row = {"sheet": shown, **({"image": report.dataset} if shown in BESIDE_REAL else {})}
        write_picture(picture, Provenance([row], {**made, "evaluation": dict(report.settings)}, recipe), place)

    write_report(report, home, name, draw)
    say(f"the report is in {home / name}.md")
    return report


def clip_of(home: Path) -> Path | None:
    """The CLIP whose tower tells a run's model what texts mean, where the run knows it."""
    from makar.families.clip.folder import recognises
    from makar.recipes.run import Run

    found = [Path(parent["folder"]) for parent in Run(home).manifest.get("parent", {}).values()]
    return next((folder for folder in found if recognises(folder)), None)


def score(
    model: str | Path, files: Sequence[str | Path], data: str | Path | None = None, *, say: Say = silent
) -> "list[Score]":
    """Say how likely a model finds pictures, and how many of those that it has never seen it finds likelier.

    Args:
        model: As `load` takes it, of a family that says how likely a picture is.
        files: PNG or JPEG files; they are brought to the model's size as those of the dataset were.
        data: A dataset folder whose test pictures say what is usual; that of the run if not said.
        say: Takes a line on each thing that takes time.

    Raises:
        UserError: There is no such model, dataset or picture, or the model cannot say.
    """
    from makar.app.anomaly import score as work
    from makar.data.dataset import Dataset
    from makar.interop.known import find_model

    folder = find_model(model, say)
    home = home_of(folder)
    dataset = Dataset.open(data if data is not None else dataset_of(home))
    return work(load(folder), [Path(file) for file in files], dataset, say=say)


def search(
    model: "str | Path | Model[Any]",
    data: str | Path,
    text: str | None = None,
    *,
    image: str | Path | None = None,
    count: int = 10,
    out: str | Path | None = None,
    say: Say = silent,
) -> "list[Found]":
    """Find the pictures of a dataset that fit a text, or another picture.

    Args:
        model: As `load` takes it: a CLIP.
        data: A dataset folder, or a file of embeddings that this wrote.
        text: What is looked for; None with `image`, or with `out` to write embeddings alone.
        image: A picture, to find those that are like it.
        count: Pictures at most, those that fit best first.
        out: A Parquet file for the embeddings of all pictures: columns id, text, split and vector.
        say: Takes a line on each thing that takes time.

    Raises:
        UserError: There is no such model, dataset or picture, or the text says nothing that the model knows.
    """
    from makar.app.search import search as work

    given, place = None if image is None else Path(image), None if out is None else Path(out)
    return work(load(model, say=say), Path(data), text, given, count=count, out=place, say=say)


def augment(
    model: str | Path, data: str | Path, out: str | Path, *, factor: int = 3, seed: int = 0, say: Say = silent
) -> "Manifest":
    """Make more pictures of the same classes, into a new dataset whose card says which were made.

    Args:
        model: As `load` takes it: a VAE.
        data: A dataset folder with pictures of the model's size.
        out: The folder to make.
        factor: So many times the training pictures, above 1.
        seed: The same seed makes the same pictures.
        say: Takes a line on each thing that takes time.

    Raises:
        UserError: There is no such model or dataset, they do not fit, or the folder exists.
    """
    from makar.app.augment import augment as work
    from makar.data.dataset import Dataset

    opened, dataset = load(model, say=say), Dataset.open(data)
    return work(opened, dataset, Path(out), factor=factor, seed=seed, name=Path(model).name, say=say)


def home_of(folder: Path) -> Path:
    """The run that a model is of, or its own folder."""
    return folder.parent if (folder.parent / "recipe.toml").is_file() else folder


def dataset_of(home: Path) -> Path:
    """The dataset that a run was trained on.

    Raises:
        InputError: The folder is no run's, or the run does not name one.
    """
    from makar.core.errors import InputError
    from makar.recipes.run import Run

    folder = Run(home).manifest.get("data", {}).get("folder")
    if folder is None:
        raise InputError("this model does not say what it was trained on", where=home, fix="name a dataset with --data")
    return Path(folder)
