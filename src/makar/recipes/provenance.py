"""What made a picture, written into its file: words that anybody reads, and a signature over them and the pixels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import nn

import makar
from makar.codecs import signing
from makar.codecs.png import encoded, texts_of
from makar.core.errors import InputError, UserError
from makar.core.files import write_atomic
from makar.core.nouns import LatentCodec, Model, TextEncoder
from makar.core.tensors import hash_tensors

ROWS, MADE, RECIPE = "makar", "makar-made", "makar-recipe"
"""The texts of a PNG file: what each picture in it was made of, what made it (both as JSON), the run's recipe."""

KINDS: Mapping[str, type | tuple[type, ...]] = {
    "prompt": (str, int, NoneType), "seed": int, "settings": dict, "share": (int, float), "edit": list, "files": dict,
    "image": str, "towards": str, "mask": str, "control": str, "small": str, "outpaint": str,
}  # fmt: skip
"""What a row holds, where it holds it: anybody may have written the file."""


@dataclass(frozen=True)
class Provenance:
    """How the pictures of a file came to be.

    Args:
        rows: For each picture its prompt, seed, settings, and the files that it began from.
        made: The model, its weights' hash, the batch, and the versions at work.
        recipe: Of the run that the model is from, as TOML.
    """

    rows: Sequence[Mapping[str, Any]]
    made: Mapping[str, Any] = field(default_factory=dict[str, Any])
    recipe: str | None = None


def maker(model: Model[Any], name: str, folder: Path | None = None) -> tuple[dict[str, Any], str | None]:
    """What is at work when a model makes pictures, and the recipe of its run.

    Args:
        model: As it is asked.
        name: What the person called it.
        folder: Where it lies; of a run, its `model/`.
    """
    recipe = None if folder is None else folder.parent / "recipe.toml"
    made = {
        "model": name,
        "family": model.family.name,
        "weights": weights_hash(model),
        "makar": makar.__version__,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }
    return made, recipe.read_text(encoding="utf-8") if recipe is not None and recipe.is_file() else None


def weights_hash(model: Model[Any]) -> str:
    """The SHA-256 of all that a model computes with: its net, and the nets among its parts."""
    tensors = dict(model.net.state_dict())
    for name, held in model.parts.items():
        part: Any = getattr(held, "model", held)  # a codec is a model in another role
        net = part.net if isinstance(part, Model) else part
        if isinstance(part, LatentCodec | TextEncoder):
            tensors[name] = torch.tensor(list(bytes.fromhex(part.hash())), dtype=torch.uint8)
        elif isinstance(net, nn.Module):
            tensors |= {f"{name}/{inner}": tensor for inner, tensor in net.state_dict().items()}
    return hash_tensors(tensors)


def write_picture(picture: Any, found: Provenance, place: Path) -> None:
    """One PNG file, whole or absent, that carries what made it; signed, where the packages for it are there.

    Without a key, and none that can be made, it says so in place of a signature: a picture is worth more than that.
    """
    made = dict(found.made)
    data = packed(picture, found, made)
    if signing.available():
        begun = any({"image", "small"} & row.keys() for row in found.rows)
        try:
            data = signing.signed(data, {"rows": list(found.rows), **made}, begun=begun)
        except UserError as fault:
            data = packed(picture, found, {**made, "unsigned": str(fault)})
    write_atomic(place, data)


def packed(picture: Any, found: Provenance, made: Mapping[str, Any]) -> bytes:
    """A picture as PNG with its words."""
    texts = {ROWS: json.dumps(list(found.rows), ensure_ascii=False), MADE: json.dumps(made, ensure_ascii=False)}
    return encoded(picture, texts | ({RECIPE: found.recipe} if found.recipe else {}))


def read_provenance(data: bytes, place: object) -> Provenance:
    """What a PNG file says of how it was made.

    Raises:
        InputError: It says nothing, or not as makar says it.
    """
    texts = texts_of(data)
    fix = "give a PNG file that makar made and no other tool saved anew"
    if ROWS not in texts:
        raise InputError("the picture does not say how makar made it", where=place, fix=fix)
    try:
        rows, made = json.loads(texts[ROWS]), json.loads(texts.get(MADE, "{}"))
    except ValueError:
        raise InputError("what it says of how it was made is damaged", where=place, fix=fix) from None
    if not (isinstance(rows, list) and rows and all(map(sound, rows)) and isinstance(made, dict)):
        raise InputError("what it says of how it was made is damaged", where=place, fix=fix)
    return Provenance(rows, made, texts.get(RECIPE))


def sound(row: Any) -> bool:
    """Whether a row is one that makar may have written."""
    if not isinstance(row, dict) or ("share" in row and "towards" not in row):
        return False
    return all(isinstance(row[name], kind) for name, kind in KINDS.items() if name in row)
