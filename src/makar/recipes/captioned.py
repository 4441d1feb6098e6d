"""Pictures with what is said of them as rows: a recipe's dataset of captions, or scenes of the emoji of its sources."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from makar.core.errors import RecipeError
from makar.core.nouns import LatentCodec, Source, TextEncoder
from makar.data.captioned import Captioned, Encode, Encoded, SceneRows
from makar.data.fetch import Fetched, fetch
from makar.data.latents import Latents
from makar.data.pixels import Pixels
from makar.data.scene_drawing import EMOJI, LARGEST, SMALLEST, Sprites, sprites_of
from makar.data.scene_things import PLACES
from makar.data.scene_words import captions_of as captions_of_scene
from makar.data.scenes import SHARE, Scenes, scene_of, scene_seed
from makar.data.steps import record_of
from makar.data.store import Count
from makar.data.told import Told, kept_told
from makar.recipes.images import ImageRows, pixels
from makar.recipes.latents import check_codec, check_variation, latents
from makar.recipes.recipe import DataConfig
from makar.recipes.run import Workspace
from makar.recipes.text import Say, counts, open_dataset

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
        seed: Of the order of rows, and of how they vary; or of the scenes.
        workspace: Where datasets lie.
        say: For a line on each thing that takes time.

    Raises:
        UserError: A source, the dataset or its pixels cannot be used, a picture lacks a caption, or the codec and the
            net do not fit.
    """
    if codec is not None:
        check_codec(codec, channels)
        size, channels = size * codec.factor, codec.channels
    if data.rows == "scenes":
        rows = scene_rows(data, encode, size, channels, codec=codec, seed=seed, say=say)
    else:
        rows = dataset_rows(
            data, encode, size, channels, codec=codec, text=text, seed=seed, workspace=workspace, say=say
        )
    return replace(rows, identity={**rows.identity, "text": text.hash()}) if text is not None else rows


def dataset_rows(
    data: DataConfig,
    encode: Encode | None,
    size: int,
    channels: int,
    *,
    codec: LatentCodec | None,
    text: TextEncoder | None,
    seed: int,
    workspace: Workspace,
    say: Say,
) -> ImageRows:
    """The pictures of a dataset that have captions."""
    if data.augment.flip and encode is not None:
        fix = "leave flip out: a caption may say what is left and what is right"
        raise RecipeError("captioned pictures are not mirrored", where="data.augment", fix=fix)
    dataset = open_dataset(data, workspace, say)
    found = {split: pixels(dataset, split, size, channels, captioned=True, say=say) for split in ("train", "valid")}
    sources: dict[str, Pixels | Latents] = {}
    for split, shards in found.items():
        if codec is None:
            sources[split] = Pixels(shards, seed, data.augment) if split == "train" else Pixels(shards, seed)
        else:
            check_variation(data.augment)
            sources[split] = Latents(latents(shards, codec, mirrored=False, say=say), seed)
    rows: dict[str, Source] = dict(sources)
    if encode is not None:
        captioned = {split: Captioned(each, encode(found[split].captions)) for split, each in sources.items()}
        rows = dict(captioned)
        if text is not None:
            for split, each in captioned.items():
                rows[split] = Told(each, kept_told(text, each.tokens, found[split].path, say=say))
    train, valid = found["train"], found["valid"]
    left_out = f"; {train.left_out:,} have no caption or not the size" if train.left_out else ""
    say(f"{train.rows:,} captioned pictures of {size}x{size} to train on; {valid.rows:,} to validate{left_out}")
    return ImageRows(
        train=rows["train"],
        valid=rows["valid"],
        classes=train.classes,
        identity={"data": dataset.hash, "pixels": train.hash} | ({"codec": codec.hash()} if codec else {}),
        facts={
            "data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)},
            "pictures": {"train": train.rows, "valid": valid.rows, "size": size, "train_hash": train.hash},
        },
    )


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


def captions_of(data: DataConfig, *, seed: int, workspace: Workspace, say: Say) -> Iterator[str]:
    """What is said of the pictures to train on, for a tokenizer to be trained.

    Args:
        data: The recipe's part, its rows "captioned" or "scenes".
        seed: Of the scenes.
        workspace: Where datasets lie.
        say: For a line on each thing that takes time.

    Raises:
        UserError: A source or the dataset cannot be used.
    """
    if data.rows == "scenes":
        stream = scene_seed(seed, "train")
        return chain.from_iterable(captions_of_scene(scene_of(place, stream), place) for place in range(TOLD))
    dataset = open_dataset(data, workspace, say)
    return (picture.text for picture in dataset.pictures("train") if picture.text)
