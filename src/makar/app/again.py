"""A picture made again, from the file that says how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.core.errors import InputError
from makar.core.files import sha256
from makar.core.say import Say

if TYPE_CHECKING:
    from makar.core.nouns import Model
    from makar.recipes.provenance import Provenance

FILES = ("image", "towards", "mask", "control", "small")
"""Parts of a prompt that are files."""


@dataclass(frozen=True)
class Again:
    """What became of it.

    Args:
        file: The new picture.
        different: Pixels that differ from the old one's; 0 where both are equal to the bit.
        farthest: By how many levels of 255 at most.
    """

    file: Path
    different: int
    farthest: int


def again(place: Path, name: str | None, out: Path | None, say: Say) -> Again:
    """Make the pictures of a file again, in a batch of the same shape, and compare.

    Args:
        place: A PNG file that makar wrote.
        name: The model; where it is not said, the one that the file names.
        out: The new file.
        say: Told what is not as it was: versions, threads.

    Raises:
        InputError: The file does not say how it was made, or what it was made of has changed.
        UserError: The model cannot be had.
    """
    from makar.app import api
    from makar.app.pictures import checked, opened
    from makar.interop.known import find_model
    from makar.recipes.images import grid_of, strips_of
    from makar.recipes.provenance import Provenance, maker, read_provenance, write_picture

    target, data = checked(out), read(place)
    if target.is_dir() or target.suffix.lower() != ".png":
        raise InputError("one picture is made again", where="--out", value=str(target), fix="name it FILE.png")
    found = read_provenance(data, place)
    model_name = name or found.made.get("model")
    if not isinstance(model_name, str):
        raise InputError("the picture does not name its model", where=place, fix="name it: makar generate MODEL --from")
    folder = find_model(model_name, say)
    model = api.load(folder)
    made, recipe = maker(model, model_name, folder)
    compare(found, made, place, say)
    before = opened(place)  # now: the new file may take its place
    lines = remade(model, found, place)
    picture = strips_of(lines) if "strips" in found.made else grid_of([line[-1] for line in lines])
    write_picture(picture, Provenance(found.rows, {**made, **kept(found)}, recipe), target)
    return Again(target, *difference(before, picture))


def read(place: Path) -> bytes:
    """A file's bytes.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return place.read_bytes()
    except OSError as fault:
        raise InputError(f"cannot be read: {fault.strerror}", where=place, fix="name a PNG file") from None


def compare(found: "Provenance", made: Mapping[str, Any], place: Path, say: Say) -> None:
    """Refuse other weights, and say what else is not as it was.

    Raises:
        InputError: The weights are others.
    """
    if found.made.get("weights") != made["weights"]:
        step = found.made.get("step")
        when = f" at step {step} of its training" if step is not None else ""
        fix = "name the model that made it, or makar's folder of that time"
        raise InputError(
            f"the picture was made by other weights{when}",
            where=place,
            value=str(found.made.get("weights"))[:16],
            fix=fix,
        )
    for name in ("makar", "torch", "threads"):
        if (before := found.made.get(name)) != made[name]:
            say(f"{name} was {before} and is {made[name]}: the picture may differ by rounding")


def kept(found: "Provenance") -> dict[str, Any]:
    """What holds for the new file too: the shape of the batch, and whether it shows how its pictures came to be."""
    return {name: found.made[name] for name in ("batch", "strips") if name in found.made}


def remade(model: "Model[Any]", found: "Provenance", place: Path) -> list[list[Any]]:
    """The pictures of a file, each behind what was shown on its way.

    One that stood among others stands at its place among copies of itself.

    Raises:
        InputError: A file that it began from is another now, or what the file says does not fit the model.
    """
    from makar.core.config import parse
    from makar.core.nouns import Request
    from makar.recipes.images import frames

    requests: list[Request] = []
    for row in found.rows:
        settings = parse(model.family.settings, row.get("settings") or {}, place)
        seed = row.get("seed")
        if not isinstance(seed, int):
            raise InputError("the picture does not say its seed", where=place, fix="give a PNG file that makar made")
        requests.append(Request(prompt_of(row, place), seed, settings))
    count, first = shape_of(found, place)
    others = [requests[0]] * first, [requests[-1]] * (count - first - len(requests))
    return frames(model, [*others[0], *requests, *others[1]])[first : first + len(requests)]


def shape_of(found: "Provenance", place: Path) -> tuple[int, int]:
    """Rows of the batch that the pictures of a file were made in, and the place of the first of them.

    Raises:
        InputError: There is no room for them in it.
    """
    count = len(found.rows)
    match found.made.get("batch", {"rows": count, "first": 0}):
        case {"rows": int(rows), "first": int(first)} if 0 <= first <= rows - count:
            return rows, first
        case batch:
            what, fix = "what it says of its batch does not fit", "give a PNG file that makar made"
            raise InputError(what, where=place, value=batch, fix=fix)


def prompt_of(row: Mapping[str, Any], place: Path) -> Any:
    """What a row was made of.

    Raises:
        InputError: A file that it began from is gone or another one.
    """
    from makar.app.pictures import beyond, given, opened

    pictures: dict[str, Any] = {}
    for part in FILES:
        if part not in row:
            continue
        file = Path(row[part])
        if not file.is_file() or sha256(file) != (row.get("files") or {}).get(part):
            fix = "put it back where it was"
            raise InputError(f"the picture was made from {file}, which is gone or another", where=place, fix=fix)
        pictures[part] = opened(file)
    if "outpaint" in row:
        pictures = beyond(pictures, row["outpaint"])
    if "share" in row:
        pictures["towards"] = (pictures["towards"], row["share"])
    prompt = (
        given(row.get("prompt") or None, pictures, row.get("edit") or ())
        if pictures or row.get("edit")
        else row.get("prompt")
    )
    return None if prompt == "" else prompt


def difference(before: Any, after: Any) -> tuple[int, int]:
    """Pixels that differ between two pictures, and by how much at most.

    Raises:
        InputError: They are of other sizes.
    """
    import numpy as np

    old, new = (np.asarray(each.convert(after.mode)).astype(int) for each in (before, after))
    if old.shape != new.shape:
        raise InputError("the model makes pictures of another size now", value=str(new.shape), fix="name its model")
    apart = abs(old - new).reshape(*old.shape[:2], -1).max(-1)
    return int((apart > 0).sum()), int(apart.max())
