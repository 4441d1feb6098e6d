"""A subject's few pictures as rows, and before them, once, the model's own pictures of what is like it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from makar.codecs.pixels import to_values
from makar.core.config import parse
from makar.core.errors import RecipeError
from makar.core.files import folder_atomic, read_sealed, sha256, write_sealed
from makar.core.nouns import Model, Request, Source, TextEncoder
from makar.core.random import key_of
from makar.core.say import Say
from makar.core.tensors import hash_tensors
from makar.data.captioned import Encoded
from makar.data.config import SubjectOptions
from makar.data.fetch import Fetched, fetch
from makar.data.steps import record_of
from makar.data.store import Count
from makar.data.subject import SubjectRows, Told, subject_pictures
from makar.engine.run import Engine
from makar.families.settings import square
from makar.nets.lora import BASE, adapters_of, plain_state
from makar.recipes.images import ImageRows
from makar.recipes.latents import check_codec
from makar.recipes.manifest import hash_of
from makar.recipes.provenance import Provenance, maker, write_picture
from makar.recipes.recipe import DataConfig
from makar.recipes.run import Workspace

MADE = "prior.json"
"""In the folder of the pictures that a model made: what they are, and the hash of each."""


def subject_rows(
    data: DataConfig, model: Model[Any], sample: Mapping[str, Any], *, seed: int, workspace: Workspace, say: Say
) -> ImageRows:
    """The pictures of a recipe's subject, and the model's own of its kind, made once and kept.

    One picture of the subject in five, the last ones, and one of its kind in eight are for the validation.

    Args:
        data: The recipe's part.
        model: Before it learns: it is told texts.
        sample: How it makes pictures.
        seed: Of the pictures that are made, and of the order of rows.
        workspace: Where those are kept.
        say: For a line on what takes time.

    Raises:
        UserError: The model is told no texts, a word is unknown to it, or the subject's pictures are no pictures, or
            too few.
    """
    asked, net, codec, text = data.subject, model.config.net, model.parts.get("codec"), model.parts.get("text")  # pyright: ignore[reportAttributeAccessIssue]
    assert asked is not None, "the recipe says so"
    if not isinstance(text, TextEncoder):
        fix = "begin from a model that reads: init = '@scenes-t2i'"
        raise RecipeError("a subject is taught by a word, and this model is told none", where="init", fix=fix)
    size, channels = net.sample_size, net.in_channels
    if codec is not None:
        check_codec(codec, channels)
        size, channels = size * codec.factor, codec.channels
    fetched = [fetch(name) for name in data.sources]
    options = data.collect.pictures.model_copy(update={"size": size})
    pixels = torch.from_numpy(subject_pictures(fetched, asked.only, options, channels))
    tokens, held = text.ids(asked.captions), max(1, len(pixels) // 5)
    identity = {"data": hash_tensors({"subject": pixels}), "text": text.hash()}
    prior = None
    if asked.prior:
        made = prior_pictures(model, asked, sample, seed=seed, workspace=workspace, say=say)
        prior, identity["prior"] = (made, text.ids([asked.prior])), hash_tensors({"prior": made})
    sources: list[Source] = []
    for part in ("train", "valid"):
        own = pixels[:-held] if part == "train" else pixels[-held:]
        kin = None if prior is None else Told(shared(prior[0], part), prior[1])
        vary = {"augment": data.augment} if part == "train" else {}
        rows: Source = SubjectRows(Told(own, tokens), kin, asked.prior_weight, seed, **vary)
        sources.append(rows if codec is None else Encoded(rows, codec, seed))
    say(f"{len(pixels) - held} pictures of the subject to learn from, {held} to judge by")
    facts = {"data": described(fetched, len(pixels), identity), "pictures": {"train": len(pixels) - held, "size": size}}
    if codec is not None:
        identity["codec"] = codec.hash()
    return ImageRows(train=sources[0], valid=sources[1], classes=(), identity=identity, facts=facts)


def shared(pixels: Tensor, part: str) -> Tensor:
    """The part's share of what was made: every eighth picture is for the validation."""
    held = torch.arange(len(pixels)) % 8 == 0
    return pixels[held if part == "valid" else ~held]


def described(fetched: Sequence[Fetched], count: int, identity: Mapping[str, str]) -> dict[str, Any]:
    """What a run's manifest says of the subject."""
    return {
        "hash": identity["data"],
        "sources": [record_of(each).model_dump(mode="json") for each in fetched],
        "read": Count(documents=count, bytes=sum(each.bytes for each in fetched)).model_dump(),
        "kept": {},
        "notes": ["Pictures of one subject; those of its kind were made by the model itself, before it learned."],
    }


def prior_pictures(
    model: Model[Any], asked: SubjectOptions, sample: Mapping[str, Any], *, seed: int, workspace: Workspace, say: Say
) -> UInt8[Tensor, "pictures channels side side"]:
    """What the model makes of the subject's kind before it learns; kept, and found again by all that they depend on.

    Args:
        model: With an adapter, perhaps: it does not answer.
        asked: The kind, and how many.
        sample: How they are made.
        seed: Picture k is made from the seed and k.
        workspace: Where they are kept.
        say: For a line.

    Raises:
        UserError: The model cannot be asked so.
    """
    settings = square(parse(model.family.settings, {**model.generation, **sample}, "[sample]"))
    plain = settings.model_dump(mode="json")
    net: Any = model.config.net  # pyright: ignore[reportAttributeAccessIssue]: of this family
    codec = model.parts.get("codec")
    known = [hash_tensors(plain_state(model.net)), *(part.hash() for part in (model.parts["text"], codec) if part)]
    key = hash_of([known, torch.__version__, asked.prior, asked.prior_pictures, plain, seed])
    folder, channels = workspace.data / f"prior-{key[:12]}", net.in_channels if codec is None else codec.channels
    if not whole(folder):
        say(f"making {asked.prior_pictures} pictures of {asked.prior!r}")
        adapter = BASE if adapters_of(model.net) else None
        seeds = [key_of(seed, "prior", place) >> 33 for place in range(asked.prior_pictures)]
        answers = Engine(model).generate([Request(asked.prior, each, settings, adapter) for each in seeds])
        made, _ = maker(model, "what was there before")
        with folder_atomic(folder) as place:
            for number, (answer, each) in enumerate(zip(answers, seeds, strict=True)):
                row = {"prompt": asked.prior, "seed": each, "settings": plain}
                write_picture(answer.data, Provenance([row], made), place / f"{number:05}.png")
            files = {file.name: sha256(file) for file in sorted(place.glob("*.png"))}
            write_sealed(place / MADE, {"prompt": asked.prior, "files": files})
    return torch.stack([read(file, channels) for file in sorted(folder.glob("*.png"))])


def whole(folder: Path) -> bool:
    """Whether the pictures of an earlier run are there, and as it wrote them."""
    if not (folder / MADE).is_file():
        return False
    files = read_sealed(folder / MADE)["files"]
    return all((folder / name).is_file() and sha256(folder / name) == known for name, known in files.items())


def read(file: Path, channels: int) -> UInt8[Tensor, "channels side side"]:
    """The values of a picture that makar wrote."""
    from PIL import Image

    with Image.open(file) as picture:
        return ((to_values(picture, channels) + 1) * 127.5).round().to(torch.uint8)
