"""Pictures as rows: a recipe's sources to a dataset and its pixels at the net's size, each made once and kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from makar.codecs.pixels import to_picture
from makar.core.config import Config
from makar.core.errors import RecipeError
from makar.core.nouns import Model, Request, Source, Verdict, Watch
from makar.core.say import Say
from makar.data.config import Augment
from makar.data.dataset import Dataset
from makar.data.pixels import Pixels, PixelShards, kept_pixels
from makar.data.shapes import Part
from makar.data.stacked import COLOURS, Stacked
from makar.engine.run import Engine
from makar.recipes.provenance import Provenance, maker, write_picture
from makar.recipes.recipe import DataConfig
from makar.recipes.run import Run, Workspace
from makar.recipes.text import counts, open_dataset

SHOWN = 16
"""Pictures in a sample, if the recipe says no prompts."""

WAYS, FRAMES = 4, 8
"""Pictures whose way is shown beside a sample, and how many of its steps at most."""


@dataclass(frozen=True)
class ImageRows:
    """Pictures, ready to train on.

    Args:
        train: Rows of the training split, which vary as the recipe says.
        valid: Rows of the validation split, as they are.
        classes: Names of the classes; empty without labels.
        identity: Hashes by which a checkpoint knows its data.
        facts: For the manifest.
    """

    train: Source
    valid: Source
    classes: tuple[str, ...]
    identity: Mapping[str, str]
    facts: Mapping[str, Any]


def image_rows(data: DataConfig, size: int, channels: int, *, seed: int, workspace: Workspace, say: Say) -> ImageRows:
    """Collect and decode; whatever is there already is checked and used.

    Args:
        data: The recipe's part.
        size: Side of the net's pictures, in pixels.
        channels: Of the net's pictures: 1 for gray, 3 for colour.
        seed: Of the order of rows, and of how they vary.
        workspace: Where datasets lie.
        say: For a line on each thing that takes time.

    Raises:
        UserError: A source, the dataset or its pixels cannot be used.
    """
    dataset = open_dataset(data, workspace, say)
    if data.stack and channels != COLOURS:
        fix = f"set model.net.in_channels={COLOURS}"
        raise RecipeError("stacked pictures have a channel for each", where="data.stack", value=channels, fix=fix)
    if data.stack and data.augment != Augment():
        raise RecipeError("stacked pictures do not vary otherwise", where="data.augment", fix="leave it out")
    seen = 1 if data.stack else channels
    train, valid = (pixels(dataset, split, size, seen, say=say) for split in ("train", "valid"))
    left_out = f"; {train.left_out:,} could not be brought to this size" if train.left_out else ""
    say(f"{train.rows:,} pictures of {size}x{size} to train on; {valid.rows:,} to validate{left_out}")
    return ImageRows(
        train=Stacked(train, seed) if data.stack else Pixels(train, seed, data.augment),
        valid=Stacked(valid, seed) if data.stack else Pixels(valid, seed),
        classes=() if data.stack else train.classes,
        identity={"data": dataset.hash, "pixels": train.hash},
        facts={
            "data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)},
            "pictures": {"train": train.rows, "valid": valid.rows, "size": size, "train_hash": train.hash},
        },
    )


def pixels(
    dataset: Dataset, split: str, size: int | Part, channels: int, *, captioned: bool = False, say: Say
) -> PixelShards:
    """The pixels of a split, decoded once for each size; if captions are wanted, of the pictures that have one.

    Args:
        dataset: Of pictures.
        split: Which of its splits.
        size: Side of the squares; or which of the pictures to bring to which shape.
        channels: 1 for gray, 3 for colour.
        captioned: Whether captions are wanted.
        say: For a line where it takes time.

    Raises:
        RecipeError: No picture has so many channels.
    """
    if channels not in (1, 3):
        fix = "set model.net.in_channels to 1 for gray or 3 for colour"
        raise RecipeError("pictures have no such channels", where="model.net.in_channels", value=channels, fix=fix)
    return kept_pixels(dataset, split, size, 1 if channels == 1 else 3, captioned=captioned, say=say)


def with_classes(model: Model[Any], classes: tuple[str, ...]) -> Model[Any]:
    """The model, with the names of its classes.

    Raises:
        RecipeError: It knows another number of classes than the data have.
    """
    known: int = model.config.net.num_classes  # pyright: ignore[reportAttributeAccessIssue]: of the families of images
    if not known:
        return model
    if known != len(classes):
        fix = f"set model.net.num_classes={len(classes)}"
        raise RecipeError(
            "the data have another number of classes", where="model.net.num_classes", value=known, fix=fix
        )
    return replace(model, config=model.config.model_copy(update={"classes": classes}))


def picture_samples(
    model: Model[Any], prompts: Sequence[str], settings: Config, *, count: int, seed: int, run: Run, say: Say
) -> Watch:
    """A watch that lets the model make pictures and keeps them in `samples/`, in a square of squares.

    Where the sampler shows what it expects on its way, the way of the first few is kept too: a line for each picture.

    Args:
        model: Before its training: what it would refuse at a look, it refuses here.
        prompts: What each is of, in turn; without any, every class in turn.
        settings: The family's settings of generation.
        count: Classes that the model knows.
        seed: The same at every look, so that looks compare.
        run: Whose `samples/` it is.
        say: For the reader.

    Raises:
        UserError: A class that the model does not know, or a guidance that it cannot follow.
    """
    asked: list[Any] = [prompt for prompt in prompts if prompt] or list(range(count)) or [None]
    wanted, ways = max(SHOWN, len(asked)), WAYS if "previews" in type(settings).model_fields else 0
    requests = [
        Request(asked[place % len(asked)], seed + place, settings if place >= ways else previewed(settings))
        for place in range(wanted)
    ]
    assert model.family.sampler is not None
    model.family.sampler.start(model, requests)
    rows = [
        {"prompt": each.prompt, "seed": each.seed, "settings": settings.model_dump(mode="json")} for each in requests
    ]
    on_the_way = [{**row, "settings": previewed(settings).model_dump(mode="json")} for row in rows[:ways]]

    def look(step: int, model: Model[Any]) -> Verdict:
        found, made = frames(model, requests), {"step": step, "batch": {"rows": wanted, "first": 0}}
        place = write_look(grid_of([each[-1] for each in found]), Provenance(rows, made), "step", model, run)
        if ways:
            said = Provenance(on_the_way, {**made, "strips": True})
            write_look(strips_of(found[:ways]), said, "way", model, run)
        say(f"samples at step {step}: {place}")
        return Verdict()

    return look


def picture_returns(held: Sequence[Tensor], settings: Config, *, seed: int, run: Run, say: Say) -> Watch:
    """A watch for a family that gives pictures back: each stands in `samples/` before what it became.

    Args:
        held: The pictures, of the net's size.
        settings: The family's settings of generation.
        seed: The same at every look.
        run: Whose `samples/` it is.
        say: For the reader.
    """
    requests = [Request({"image": image}, seed + place, settings) for place, image in enumerate(held)]
    rows = [{"held": place} for place in range(len(held))]

    def look(step: int, model: Model[Any]) -> Verdict:
        pairs = zip(map(to_picture, held), frames(model, requests), strict=True)
        grid = grid_of([each for before, after in pairs for each in (before, after[-1])])
        place = write_look(grid, Provenance(rows, {"step": step}), "back", model, run)
        say(f"pictures given back at step {step}: {place}")
        return Verdict()

    return look


def previewed(settings: Any) -> Config:
    """Settings of a sampler that shows what it expects, at no more than so many of its steps."""
    return settings if settings.previews else settings.model_copy(update={"previews": -(-settings.steps // FRAMES)})


def frames(model: Model[Any], requests: Sequence[Request]) -> list[list[Any]]:
    """Of each request all that was shown of it, the finished picture last."""
    found: list[list[Any]] = [[] for _ in requests]
    for chunk in Engine(model).stream(requests):
        if chunk.data is not None:
            found[chunk.row].append(chunk.data)
    return found


def write_look(picture: Any, found: Provenance, name: str, model: Model[Any], run: Run) -> Path:
    """Keep the picture of a look in a run's `samples/`, with what made it."""
    run.samples.mkdir(exist_ok=True)
    place = run.samples / f"{name}-{found.made['step']:08d}.png"
    made, recipe = maker(model, str(run.folder), run.folder / "model")
    write_picture(picture, Provenance(found.rows, {**made, **found.made}, recipe), place)
    return place


def strips_of(found: Sequence[Sequence[Any]]) -> Any:
    """A line for each of some pictures, from the first that was shown of it to the last, as one."""
    return grid_of([each for line in found for each in line], len(found[0]))


def grid_of(pictures: Sequence[Any], columns: int | None = None) -> Any:
    """Pictures of one size in rows and columns, as one; a single one is itself, and places left over are black.

    Args:
        pictures: Of Pillow.
        columns: In a row; as many as make it about square, if not said.
    """
    from PIL import Image

    if len(pictures) == 1:
        return pictures[0]
    columns = columns or max(1, round(len(pictures) ** 0.5))
    wide, high = pictures[0].size
    grid = Image.new(pictures[0].mode, (columns * wide, -(-len(pictures) // columns) * high))
    for number, picture in enumerate(pictures):
        grid.paste(picture, (number % columns * wide, number // columns * high))
    return grid
