"""Latents as rows: a recipe's pictures through the codec that its parts name, encoded once for each codec."""

from typing import Any

from makar.core.errors import RecipeError
from makar.core.nouns import LatentCodec
from makar.core.say import Say
from makar.data.config import Augment
from makar.data.latents import Latents, LatentShards, write_latents
from makar.data.pixels import PixelShards
from makar.recipes.images import ImageRows, pixels
from makar.recipes.manifest import hash_of
from makar.recipes.recipe import DataConfig
from makar.recipes.run import Workspace
from makar.recipes.text import counts, open_dataset


def latent_rows(data: DataConfig, codec: Any, net: Any, *, seed: int, workspace: Workspace, say: Say) -> ImageRows:
    """Collect, decode and encode; whatever is there already is checked and used.

    Args:
        data: The recipe's part.
        codec: The model's part "codec".
        net: The shape of the net that learns the latents.
        seed: Of the order of rows, and of the draws.
        workspace: Where datasets lie.
        say: For a line on each thing that takes time.

    Raises:
        UserError: A source, the dataset or its pixels cannot be used, or the codec and the net do not fit.
    """
    check_codec(codec, net.in_channels)
    check_variation(data.augment)
    dataset = open_dataset(data, workspace, say)
    size = net.sample_size * codec.factor
    found = {split: pixels(dataset, split, size, codec.channels, say=say) for split in ("train", "valid")}
    train = latents(found["train"], codec, mirrored=data.augment.flip, say=say)
    valid = latents(found["valid"], codec, mirrored=False, say=say)
    say(f"{train.rows:,} pictures of {size}x{size} as latents of {net.sample_size}x{net.sample_size} to train on")
    return ImageRows(
        train=Latents(train, seed),
        valid=Latents(valid, seed),
        classes=train.classes,
        identity={"data": dataset.hash, "latents": train.hash},
        facts={
            "data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)},
            "pictures": {"train": train.rows, "valid": valid.rows, "size": size, "train_hash": train.hash},
            "codec": train.meta["codec"],
        },
    )


def check_codec(codec: Any, channels: int) -> None:
    """Refuse a codec that makes no latents, or others than a net learns.

    Raises:
        RecipeError: Says which it is.
    """
    if not isinstance(codec, LatentCodec):
        fix = "name a trained model of the family 'autoencoder' or 'vae': parts = {codec = '@autoencoder'}"
        raise RecipeError("this model makes no latents", where="parts.codec", value=type(codec).__name__, fix=fix)
    if channels != codec.latent_channels:
        what, fix = "the codec's latents have other channels", f"set model.net.in_channels={codec.latent_channels}"
        raise RecipeError(what, where="model.net.in_channels", value=channels, fix=fix)


def check_variation(augment: Augment) -> None:
    """Refuse variation that latents, made once, cannot have.

    Raises:
        RecipeError: Pictures are to be cut or coloured.
    """
    if augment != Augment(flip=augment.flip):
        fix = "leave crop and jitter to the codec's own training"
        raise RecipeError("latents are made once, and vary by flip alone", where="data.augment", fix=fix)


def latents(shards: PixelShards, codec: LatentCodec, *, mirrored: bool, say: Say) -> LatentShards:
    """The latents of a split, beside its pixels: encoded once for each codec."""
    known = codec.hash()
    key = hash_of([shards.hash, known, mirrored])
    folder = shards.path.with_name(f"latents-{shards.meta['split']}-{key[:12]}")
    if folder.is_dir():
        return LatentShards.open(folder)
    say(f"encoding the {shards.meta['split']} split")
    return write_latents(shards, codec.moments, folder, codec=known, mirrored=mirrored)
