"""Pictures in and out of the command line: opened with care, written with what made them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.core.errors import InputError
from makar.core.files import sha256

if TYPE_CHECKING:
    from makar.core.nouns import Model
    from makar.data.config import PictureOptions
    from makar.engine.run import Answer

FARTHEST = 4096
"""Pixels beyond a side of a picture, at most."""


def draw(
    model: "Model[Any]", asked: Sequence[str | None], *,
    count: int, seed: int, out: Path | None, images: Sequence[Path] = (), mask: Path | None = None,
    control: Path | None = None, enlarge: Path | None = None, outpaint: str | None = None, edits: Sequence[str] = (),
    settings: Mapping[str, Any], name: str = "", folder: Path | None = None,
) -> list[Path]:  # fmt: skip
    """Make pictures and write them.

    Args:
        model: That makes pictures.
        asked: Classes or captions; None for any picture.
        count: Pictures of each.
        seed: Picture k of a class is made with seed + k; all pictures of a way with the seed itself.
        out: As `deliver` takes it.
        images: What to begin from, and what to go to: then the pictures of a class are the way, in equal steps.
        mask: Where to make it anew.
        control: What to show a model that is shown something.
        enlarge: What to make large.
        outpaint: How far to paint beyond the picture to begin from, as `beyond` takes it; nothing of that is there yet,
            so its strength is 1 unless the settings say another.
        edits: Directions to go, as "+NAME" or "-NAME=1.5".
        settings: Fields of the family's settings.
        name: What the model is called, and `folder` where it lies; both go into the files.
        folder: Of the model.

    Returns:
        The files.

    Raises:
        UserError: Something that does not fit the model, or cannot be read or written.
    """
    from makar.app import api
    from makar.data.pictures import need_pillow
    from makar.recipes.provenance import maker

    need_pillow()
    place, files = checked(out), named(images, mask=mask, control=control, small=enlarge)
    pictures = {name: opened(path) for name, path in files.items()}
    if outpaint is not None:
        pictures, settings = beyond(pictures, outpaint), {"strength": 1.0, **settings}
    shares = way(count) if "towards" in files else [None] * count
    said: dict[str, Any] = {name: str(path) for name, path in files.items()}
    said |= {"files": {name: sha256(path) for name, path in files.items()}} if files else {}
    said |= {"edit": list(edits)} if edits else {}
    said |= {"outpaint": outpaint} if outpaint is not None else {}
    made, recipe = maker(model, name, folder)
    plain = {**model.generation, **settings}
    rows = [
        {"prompt": label or "", **said, "seed": seed + k, "settings": plain} if share is None
        else {"prompt": label or "", **said, "share": share, "seed": seed, "settings": plain}
        for label in asked for k, share in enumerate(shares)
    ]  # fmt: skip
    if "towards" not in files:
        prompts = [given(label, pictures, edits) for label in asked]
        answers = api.generate(model, prompts, count=count, seed=seed, **settings)
        return deliver(answers, rows, place, made, recipe)
    on_the_way = [{**pictures, "towards": (pictures["towards"], share)} for share in shares]
    prompts = [given(label, there, edits) for label in asked for there in on_the_way]
    return deliver(api.generate(model, prompts, seed=seed, **settings), rows, place, made, recipe)


def named(images: Sequence[Path], **beside: Path | None) -> dict[str, Path]:
    """The files of a prompt by the names of its parts.

    Raises:
        InputError: There are too many.
    """
    if len(images) > 2:  # noqa: PLR2004
        fix = "give one to begin from, and a second to go to"
        raise InputError("more than two pictures", where="--image", value=len(images), fix=fix)
    given = {name: path for name, path in beside.items() if path is not None}
    return {**dict(zip(("image", "towards"), images, strict=False)), **given}


def beyond(pictures: Mapping[str, Any], margins: str) -> dict[str, Any]:
    """A prompt's picture on a larger canvas, and the mask of what is empty there.

    Args:
        pictures: Of the prompt; the one to begin from, and no mask.
        margins: Pixels to paint at the left, the top, the right and the bottom: "8,0,8,0".

    Raises:
        InputError: It is not said so, or the pictures are others.
    """
    import numpy as np
    from PIL import Image

    sides = [int(side) if side.strip().isdecimal() else -1 for side in margins.split(",")]
    if len(sides) != 4 or min(sides) < 0 or not 0 < max(sides) <= FARTHEST:  # noqa: PLR2004
        fix = f"give pixels up to {FARTHEST} at the left, the top, the right and the bottom: 8,0,8,0"
        raise InputError("no margins to paint", where="--outpaint", value=margins, fix=fix)
    if "image" not in pictures or {"mask", "towards", "small"} & pictures.keys():
        fix = "name that picture alone with --image, and no --mask"
        raise InputError("one picture is painted beyond its sides", where="--outpaint", fix=fix)
    left, top, right, bottom = sides
    known = np.asarray(pictures["image"])
    around = ((top, bottom), (left, right))
    canvas = np.pad(known, (*around, *(((0, 0),) * (known.ndim - 2))), "edge")
    empty = np.pad(np.zeros(known.shape[:2], np.uint8), around, constant_values=255)
    return {**pictures, "image": Image.fromarray(canvas), "mask": Image.fromarray(empty)}


def way(count: int) -> list[float]:
    """Shares of a way in equal steps, both ends among them; a single one is the middle."""
    return [k / (count - 1) for k in range(count)] if count > 1 else [0.5]


def given(label: str | None, pictures: Mapping[str, Any], edits: Sequence[str] = ()) -> Any:
    """A prompt of a class, of pictures and of edits; the label alone where there is nothing else."""
    found = {**pictures, **({"edit": tuple(edits)} if edits else {})}
    return {"label": label, **found} if found else label


def opened(path: Path, options: "PictureOptions | None" = None) -> Any:
    """A picture of Pillow, read as those of a dataset are: bounded, upright, opaque, sRGB.

    Args:
        path: The file.
        options: Size and background; as it is, on white, if not said.

    Raises:
        InputError: It cannot be read as one.
    """
    from makar.data.config import PictureOptions
    from makar.data.document import Fault
    from makar.data.pictures import decode

    try:
        still = decode(path.read_bytes(), str(path), options or PictureOptions())
    except OSError as fault:
        raise InputError(f"cannot be read: {fault.strerror}", where=path, fix="give a PNG or JPEG file") from None
    if isinstance(still, Fault):
        raise InputError(f"cannot be read as a picture: {still.reason}", where=path, fix=still.fix)
    return still.image


def checked(out: Path | None) -> Path:
    """A place where pictures can go, asked before the work is done.

    Raises:
        InputError: It is not said, ends in something else than .png, or lies in no folder.
    """
    if out is None:
        fix = "add --out FILE.png for one picture or a grid of them, or --out FOLDER for one file each"
        raise InputError("this model makes pictures, and a terminal shows none", where="--out", fix=fix)
    if out.suffix.lower() not in ("", ".png") and not out.is_dir():
        raise InputError("pictures are written as PNG", where="--out", value=out.name, fix="name it FILE.png")
    if not out.parent.is_dir():
        raise InputError("its folder does not exist", where=out, fix="name a file in a folder that is there")
    if not out.suffix and out.is_file():
        raise InputError("a file is where the folder should be", where=out, fix="name FILE.png, or another folder")
    return out


def deliver(
    answers: "Sequence[Answer]",
    rows: Sequence[Mapping[str, Any]],
    out: Path,
    made: Mapping[str, Any],
    recipe: str | None = None,
) -> list[Path]:
    """Write pictures: each into a folder by its number, or all into one file as a grid.

    Args:
        answers: Whose `data` is a picture of Pillow; made in one batch.
        rows: For each what it was made of (prompt, seed, settings); it goes into the file.
        out: A folder, or a file that ends in .png.
        made: What made them all: model, weights, versions.
        recipe: Of the model's run.

    Returns:
        The files.
    """
    from makar.recipes.images import grid_of
    from makar.recipes.provenance import Provenance, write_picture

    pictures = [answer.data for answer in answers]
    batch = {"rows": len(pictures), "first": 0}
    if out.suffix.lower() == ".png" and not out.is_dir():
        write_picture(grid_of(pictures), Provenance(rows, {**made, "batch": batch}, recipe), out)
        return [out]
    out.mkdir(exist_ok=True)
    files = [out / f"{number:04d}.png" for number in range(len(pictures))]
    for number, (picture, row, file) in enumerate(zip(pictures, rows, files, strict=True)):
        write_picture(picture, Provenance([row], {**made, "batch": {**batch, "first": number}}, recipe), file)
    return files
