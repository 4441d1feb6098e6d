"""Pictures with what is said of them as rows: a recipe's dataset of captions, or scenes of the emoji of its sources."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from makar.core.errors import InputError, RecipeError
from makar.core.files import seal_of
from makar.core.nouns import LatentCodec, Source, TextEncoder
from makar.core.random import key_of
from makar.core.say import Say
from makar.data.buckets import Buckets, Pictures, kept_sizes
from makar.data.captioned import Captioned, Encode, Encoded, SceneRows
from makar.data.config import Augment
from makar.data.dataset import Dataset
from makar.data.fetch import Fetched, fetch
from makar.data.latents import Latents
from makar.data.pixels import Pixels, PixelShards, none_left
from makar.data.scene_drawing import EMOJI, LARGEST, SMALLEST, Sprites, sprites_of
from makar.data.scene_things import PLACES
from makar.data.scene_words import captions_of as captions_of_scene
from makar.data.scenes import SHARE, Scenes, scene_of, scene_seed
from makar.data.shapes import Part, Shape, filled, placed
from makar.data.steps import record_of
from makar.data.store import Count
from makar.data.told import Told, kept_told
from makar.recipes.buckets import net_shapes
from makar.recipes.images import ImageRows, pixels
from makar.recipes.latents import check_codec, check_variation, latents
from makar.recipes.recipe import DataConfig
from makar.recipes.run import Workspace
from makar.recipes.text import counts, open_dataset

SPLITS = ("train", "valid")

TOLD = 4_000
"""Scenes whose captions a tokenizer is trained on: every word is in them many times."""


def captioned_rows(
    data: DataConfig,
    encode: Encode | None,
    size: int,
    channels: int,
    *,
    codec: Any = None,
    text: TextEncoder | None = None,
    refuse: Encode | None = None,
    net: object = None,
    least: int = 1,
    seed: int,
    workspace: Workspace,
    say: Say,
) -> ImageRows:
    """Collect and decode, or compose; whatever is there already is checked and used.

    Args:
        data: The recipe's part, its rows "captioned" or "scenes".
        encode: Captions to tokens; None for pictures alone.
        size: Side of the net's pictures, or of its latents.
        channels: Of the net's pictures, or of its latents.
        codec: What makes pictures small, for a net that learns latents; None for pixels.
        text: What reads the captions, where it is frozen: those of a dataset are then read once, and kept.
        refuse: As `encode`, but for captions that a person wrote: those of a dataset that it refuses are counted.
        net: The config of the net, which says what shapes it can learn where the data ask for several.
        least: Pictures that each of several shapes must have: as many as a batch.
        seed: Of the order of rows, and of how they vary; or of the scenes.
        workspace: Where datasets lie.
        say: For a line on each thing that takes time.

    Raises:
        UserError: A source, the dataset or its pixels cannot be used, a picture lacks a caption, or the codec, the
            shapes and the net do not fit.
    """
    shapes = shapes_for(data, net)
    if codec is not None:
        check_codec(codec, channels)
        size, channels = size * codec.factor, codec.channels
        shapes = [(high * codec.factor, wide * codec.factor) for high, wide in shapes]
    if data.rows == "scenes":
        rows = scene_rows(data, encode, size, channels, codec=codec, seed=seed, say=say)
    else:
        rows = dataset_rows(
            data, encode, shapes or size, channels, codec=codec, text=text, refuse=refuse, least=least, seed=seed,
            workspace=workspace, say=say,
        )  # fmt: skip
    return replace(rows, identity={**rows.identity, "text": text.hash()}) if text is not None else rows


def shapes_for(data: DataConfig, net: object) -> list[Shape]:
    """The shapes that a recipe asks for, in the net's places; none where all pictures are squares.

    Raises:
        RecipeError: The net cannot learn them.
    """
    if data.buckets == 1:
        return []
    try:
        return list(net_shapes(net, data.buckets))
    except ValueError as fault:
        what = "the net does not learn pictures of these shapes"
        raise RecipeError(what, where="data.buckets", value=data.buckets, fix=str(fault)) from None


def dataset_rows(
    data: DataConfig,
    encode: Encode | None,
    size: int | Sequence[Shape],
    channels: int,
    *,
    codec: LatentCodec | None,
    text: TextEncoder | None,
    refuse: Encode | None,
    least: int,
    seed: int,
    workspace: Workspace,
    say: Say,
) -> ImageRows:
    """The pictures of a dataset that have captions: squares of a size, or each of the nearest of several shapes."""
    if data.augment.flip and encode is not None:
        fix = "leave flip out: a caption may say what is left and what is right"
        raise RecipeError("captioned pictures are not mirrored", where="data.augment", fix=fix)
    if codec is not None:
        check_variation(data.augment)
    dataset = open_dataset(data, workspace, say)
    if isinstance(size, int):
        found = {split: [pixels(dataset, split, size, channels, captioned=True, say=say)] for split in SPLITS}
    else:
        found = in_shapes(dataset, size, channels, least=least, say=say)
    rows: dict[str, Source] = {}
    for split, shards in found.items():
        vary = data.augment if split == "train" else Augment()
        if isinstance(size, int):
            rows[split] = rows_of(shards[0], encode, vary, codec=codec, text=text, seed=seed, say=say)
            continue
        own = [key_of(seed, "shape", *each.shape) for each in shards]  # else two shapes' rows would vary alike
        each_shape = [
            rows_of(each, encode, vary, codec=codec, text=text, seed=key, say=say)
            for each, key in zip(shards, own, strict=True)
        ]
        rows[split] = Buckets(each_shape, seed)
    train, count = found["train"], {split: sum(each.rows for each in shards) for split, shards in found.items()}
    hashed = train[0].hash if isinstance(size, int) else seal_of([each.hash for each in train])
    shown = {f"{each.shape[2]}x{each.shape[1]}": each.rows for each in train}
    without = dataset.manifest.kept["train"].documents - count["train"]
    left_out = f"; {without:,} have no caption or not the size" if without else ""
    said = ", ".join(shown) if len(shown) == 1 else ", ".join(f"{name} ({rows:,})" for name, rows in shown.items())
    say(f"{count['train']:,} captioned pictures of {said} to train on; {count['valid']:,} to validate{left_out}")
    if refuse is not None:
        for what, refused in refusals([text for each in train for text in each.captions], refuse).items():
            say(f"{refused:,} of {count['train']:,} captions: {what}; they are learned as far as they are read")
    return ImageRows(
        train=rows["train"],
        valid=rows["valid"],
        classes=train[0].classes,
        identity={"data": dataset.hash, "pixels": hashed} | ({"codec": codec.hash()} if codec else {}),
        facts={
            "data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)},
            "pictures": {**count, "size": size if isinstance(size, int) else shown, "train_hash": hashed},
        },
    )


def refusals(captions: Sequence[str], refuse: Encode) -> Counter[str]:
    """How many captions would be refused if a person wrote them, by what is wrong with them."""
    found: Counter[str] = Counter()
    try:
        refuse(captions)
    except InputError:  # of all together it says only the first
        for caption, times in Counter(captions).items():
            try:
                refuse([caption])
            except InputError as fault:
                found[fault.what] += times
    return found


def in_shapes(
    dataset: Dataset, shapes: Sequence[Shape], channels: int, *, least: int, say: Say
) -> dict[str, list[PixelShards]]:
    """The captioned pictures of both splits, each brought to the shape nearest to its own: those of a shape together.

    A shape with too few pictures to train on is given up, and its pictures go to the nearest that is left.

    Raises:
        InputError: The dataset holds squares, or a split has no picture that is large enough for its shape.
    """
    stored = dataset.manifest.options.pictures
    if stored.size is not None:
        fix = "collect without a size, or leave data.buckets out"
        raise InputError("its pictures are stored as squares", where=dataset.path, value=stored.size, fix=fix)
    enlarge = stored.fit == "pad"
    sizes = {split: kept_sizes(dataset, split, say=say) for split in SPLITS}
    shapes, folded = filled(sizes["train"], shapes, least, enlarge=enlarge)
    for (high, wide), count in folded.items():
        if count:
            lot = "1 picture is" if count == 1 else f"{count:,} pictures are"
            say(
                f"{lot} nearest to {wide}x{high}, fewer than the {least} of a batch: the nearest other shape takes them"
            )
    found: dict[str, list[PixelShards]] = {}
    for split, known in sizes.items():
        places = placed(known, shapes, enlarge=enlarge)
        if places.max(initial=-1) < 0:
            shown = " or ".join(f"{wide}x{high}" for high, wide in shapes)
            raise none_left(dataset, split, shown, len(known), captioned=True)
        parts = [Part(shape, frozenset(np.flatnonzero(places == at).tolist())) for at, shape in enumerate(shapes)]
        found[split] = [pixels(dataset, split, part, channels, captioned=True, say=say) for part in parts if part.rows]
    return found


def rows_of(
    shards: PixelShards,
    encode: Encode | None,
    augment: Augment,
    *,
    codec: LatentCodec | None,
    text: TextEncoder | None,
    seed: int,
    say: Say,
) -> Pictures:
    """Pictures of one shape as rows, or their latents, with their captions where these are read."""
    pictures = Pixels(shards, seed, augment)
    if codec is not None:
        pictures = Latents(latents(shards, codec, mirrored=False, say=say), seed)
    if encode is None:
        return pictures
    captioned = Captioned(pictures, encode(shards.captions))
    return captioned if text is None else Told(captioned, kept_told(text, captioned.tokens, shards.path, say=say))


def scene_rows(
    data: DataConfig,
    encode: Encode | None,
    size: int,
    channels: int,
    *,
    codec: LatentCodec | None,
    seed: int,
    say: Say,
) -> ImageRows:
    """Scenes without end, of combinations that are not held out; those of the validation are others."""
    if channels != 3:
        fix = "set the net's channels to 3"
        raise RecipeError("scenes are in colour", where="data.rows", value=channels, fix=fix)
    if not SMALLEST <= size <= LARGEST:
        fix = f"set the net's size so that pictures have {SMALLEST} to {LARGEST} pixels"
        raise RecipeError("scenes are not drawn at this size", where="data.rows", value=size, fix=fix)
    fetched, sprites = emoji_of(data)
    streams = {
        name: Scenes(sprites, size, scene_seed(seed, name), siblings=data.siblings) for name in ("train", "valid")
    }
    rows: dict[str, Source] = {name: SceneRows(scenes, encode) for name, scenes in streams.items()}
    if codec is not None:
        rows = {name: Encoded(each, codec, seed) for name, each in rows.items()}
    say(f"scenes of {size}x{size} without end, composed of {len(sprites.art)} emoji")
    return ImageRows(
        train=rows["train"],
        valid=rows["valid"],
        classes=(),
        identity={"data": sprites.hash} | ({"codec": codec.hash()} if codec else {}),
        facts={"data": described(fetched, sprites), "pictures": {"size": size}},
    )


def emoji_of(data: DataConfig) -> tuple[Fetched, Sprites]:
    """The emoji set of a recipe of scenes.

    Raises:
        RecipeError: The recipe names a dataset, whose pictures have no transparent ground, or several sets.
        UserError: The set cannot be fetched, or lacks an emoji.
    """
    if len(data.sources) != 1:
        fix = f'set data.sources = ["{EMOJI}"]'
        raise RecipeError("scenes are composed of one emoji set", where="data", value=len(data.sources), fix=fix)
    fetched = fetch(data.sources[0])
    return fetched, sprites_of(fetched)


def described(fetched: Fetched, sprites: Sprites) -> dict[str, Any]:
    """What a run's manifest says of scenes: where the emoji come from, and what never occurs."""
    count = Count(documents=len(sprites.art), bytes=sum(len(image.tobytes()) for image in sprites.art.values()))
    note = (
        f"Scenes are composed of these emoji, none twice, in {len(PLACES)} places drawn for them. One in {SHARE} of all"
        " pairs of subject, accessory and place never occurs, nor one in as many of the remaining triples."
    )
    return {
        "hash": sprites.hash,
        "sources": [record_of(fetched).model_dump(mode="json")],
        "read": count.model_dump(),
        "kept": {},
        "notes": [note],
    }


def captions_of(data: DataConfig, split: str = "train", *, seed: int, workspace: Workspace, say: Say) -> Iterator[str]:
    """What is said of the pictures to train on, or of those to validate.

    Args:
        data: The recipe's part, its rows "captioned" or "scenes".
        split: "train" or "valid".
        seed: Of the scenes.
        workspace: Where datasets lie.
        say: For a line on each thing that takes time.

    Raises:
        UserError: A source or the dataset cannot be used.
    """
    if data.rows == "scenes":
        stream = scene_seed(seed, split)
        return chain.from_iterable(captions_of_scene(scene_of(place, stream), place) for place in range(TOLD))
    dataset = open_dataset(data, workspace, say)
    return (picture.text for picture in dataset.pictures(split) if picture.text)
