"""What pictures are judged with, as a recipe says it: real ones held out, nets that see them, people's choices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from makar.align.choices import picture_in, read_choices
from makar.align.config import text_of
from makar.align.functions import source_hash
from makar.align.picture_rewards import Classifier, Images, PictureJudge, PictureReward, make_picture_rewards
from makar.align.taste import taste_of
from makar.codecs.pixels import to_values
from makar.core.config import Config
from makar.core.errors import InputError, RecipeError
from makar.core.files import sha256
from makar.core.nouns import LatentCodec, Model
from makar.core.say import Say
from makar.data.config import PictureOptions
from makar.data.document import Fault
from makar.data.pictures import decode
from makar.data.scene_things import Scene
from makar.data.scene_words import heard
from makar.engine.load import open_model
from makar.evaluate.classifier import ClassifierConfig, classifier_of
from makar.evaluate.features import values_of
from makar.evaluate.judge import agreement, judge_of, wanted_of
from makar.evaluate.pictures import some
from makar.families.clip import score
from makar.families.clip.build import captions_of
from makar.families.clip.sample import token_vectors
from makar.families.diffusion.caption import reads
from makar.families.pictures import fitting
from makar.recipes.attributes import attribute_watch
from makar.recipes.captioned import captioned_rows, emoji_of
from makar.recipes.images import pixels
from makar.recipes.recipe import Recipe
from makar.recipes.run import Run, Workspace
from makar.recipes.text import counts, open_dataset
from makar.train.session import Periodic

REWARDING = {"class", "people"}
"""Rewards that a dataset's own classifier gives."""

SECOND = 1
"""The seed of a second net, so that what rewards is not what watches."""


@dataclass(frozen=True)
class Stage:
    """What a stage of alignment is made of.

    Args:
        recipe: Says all.
        model: Where it begins, as alignment sees it.
        settings: Of its pictures.
        run: Where it goes.
        workspace: Where datasets and other runs lie.
        every: Steps between looks, unless the recipe says otherwise.
        say: Takes lines for the reader.
    """

    recipe: Recipe
    model: Model[Any]
    settings: Config
    run: Run
    workspace: Workspace
    every: int
    say: Say

    @property
    def codec(self) -> LatentCodec | None:
        """What makes pictures of what the net learned, where that is no pictures."""
        found = self.model.parts.get("codec")
        return found if isinstance(found, LatentCodec) else None

    @property
    def shape(self) -> tuple[Literal[1, 3], int]:
        """Channels and side of the model's pictures.

        Raises:
            RecipeError: They have neither one channel nor three.
        """
        net: Any = self.model.config.net  # pyright: ignore[reportAttributeAccessIssue]: every family of pictures has one
        channels = net.in_channels if self.codec is None else self.codec.channels
        if channels not in (1, 3):
            fix = "begin from a model of grey pictures or of colours"
            raise RecipeError("pictures have no such channels", where="init", value=channels, fix=fix)
        return channels, net.sample_size * (1 if self.codec is None else self.codec.factor)

    @property
    def reads(self) -> bool:
        """Whether the model is told captions."""
        return self.model.family.name == "diffusion" and reads(self.model)

    @property
    def classes(self) -> int:
        """How many classes the model can be asked for."""
        return self.model.config.net.num_classes  # pyright: ignore[reportAttributeAccessIssue]: of all families of pictures

    def learned(self, images: Images) -> Tensor:
        """What the net learns of pictures."""
        return images if self.codec is None else self.codec.moments(images)[0]


@dataclass(frozen=True)
class Seen:
    """What a recipe's data are to rewarded pictures.

    Args:
        real: Pictures held out.
        see: Features to compare pictures in, of a net that rewards nothing where there is a second one.
        liked: Features to learn in what people like.
        classify: What tells their classes apart, where they have any.
        verdict: What says how well scenes show what was asked, where they are scenes.
        names: Of the classes.
        identity: Hashes by which a checkpoint knows them.
        facts: For the manifest.
        watches: That look besides.
    """

    real: Images
    see: Callable[[Images], Tensor]
    liked: Callable[[Images], Tensor]
    classify: Classifier | None
    names: tuple[str, ...]
    identity: Mapping[str, str]
    facts: Mapping[str, Any]
    watches: Sequence[Periodic] = ()
    verdict: PictureJudge | None = None


def of_dataset(stage: Stage) -> Seen:
    """A dataset's held-out pictures, and its own classifier to see them with.

    Where that one rewards, a second one watches: what pleases the first by its faults alone does not look real to it.
    """
    dataset, (channels, size) = open_dataset(stage.recipe.data, stage.workspace, stage.say), stage.shape
    train, valid = (pixels(dataset, split, size, channels, say=stage.say) for split in ("train", "valid"))
    found = classifier_of(dataset, train, stage.say)
    assert isinstance(found.config, ClassifierConfig)
    own: tuple[str, ...] = getattr(stage.model.config, "classes", ())
    names = (own or train.classes) if stage.classes else ()
    logits, features = asking(found.net)
    see = features
    if REWARDING & (stage.recipe.reward or {}).keys():
        see = asking(classifier_of(dataset, train, stage.say, seed=SECOND).net)[1]
    return Seen(
        real=values_of(some(valid, stage.recipe.watch.validate_rows).pixels),
        see=see,
        liked=features,
        classify=Classifier(logits, found.config.classes, names) if found.config.named else None,
        names=names,
        identity={"data": dataset.hash, "pixels": train.hash},
        facts={"data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)}},
    )


def asking(net: Any) -> tuple[Callable[[Images], Any], Callable[[Images], Tensor]]:
    """What a judging net says and its features, where the pictures are: with a gradient to them, none of its own."""
    net.requires_grad_(requires_grad=False).eval()
    return lambda images: net.to(images.device)(images), lambda images: net.to(images.device).features(images)


def of_scenes(stage: Stage) -> Seen:
    """Scenes of another stream, seen by the judge of scenes."""
    recipe, (channels, size) = stage.recipe, stage.shape
    rows = captioned_rows(recipe.data, None, size, channels, seed=recipe.seed, workspace=stage.workspace, say=stage.say)
    real = rows.valid.batch(0, recipe.watch.validate_rows)["images"]
    sprites = emoji_of(recipe.data)[1]
    _, features = asking(judge_of(sprites, stage.say).net)
    verdict = verdict_of(judge_of(sprites, stage.say, seed=SECOND)) if "scene" in (recipe.reward or {}) else None
    seen = Seen(real, features, features, None, (), rows.identity, rows.facts, verdict=verdict)
    if not recipe.watch.judged:
        return seen
    watch = attribute_watch(sprites, stage.settings, pictures=recipe.watch.judged, seed=recipe.seed, say=stage.say)
    return replace(seen, watches=[Periodic("attributes", watch, stage.every)])


def judges(stage: Stage, seen: Seen) -> tuple[list[PictureReward], dict[str, str]]:
    """The recipe's rewards, and hashes of what they are made of.

    Raises:
        RecipeError: A reward cannot be made.
    """
    table, hashes, fits = dict(stage.recipe.reward or {}), dict[str, str](), None
    path = text_of(table, "clip", "path")
    if path is not None:
        folder = stage.workspace.model(path)
        fits, hashes["judge"] = fitness(open_model(folder), folder), sha256(folder / "model.safetensors")
    chosen, taste = text_of(table, "people", "path"), None
    if chosen is not None:
        taste, hashes["choices"] = liked(stage, seen, Path(chosen)), sha256(Path(chosen))
    if (written := source_hash(table)) is not None:
        hashes["reward"] = written
    return make_picture_rewards(table, classify=seen.classify, fits=fits, taste=taste, verdict=seen.verdict), hashes


def liked(stage: Stage, seen: Seen, store: Path) -> PictureJudge:
    """What people like, learned from their choices in the features of the net that rewards.

    Raises:
        InputError: The store holds no choices between pictures of the model's size.
    """
    choices = read_choices(store)
    if not choices:
        raise InputError("the store holds no choice", where=store, fix="makar feedback asks for some")
    sides = [
        torch.cat([seen.liked(picture_of(stage, text, f"{store}:{row}")[None]) for row, text in enumerate(texts, 1)])
        for texts in ([each.chosen for each in choices], [each.rejected for each in choices])
    ]
    found = taste_of(*sides)
    return lambda images, prompts: found(seen.liked(images))  # noqa: ARG005


def fitness(model: Model[Any], folder: Path) -> Callable[[Images, Sequence[Any]], Tensor]:
    """How well pictures fit their captions, by a CLIP.

    Raises:
        RecipeError: The model is none.
    """
    if model.family.name != "clip":
        fix = "name a run of CLIP: path = '@clip'"
        raise RecipeError("it is no CLIP", where="reward.clip", value=str(folder), fix=fix)
    model.net.requires_grad_(requires_grad=False).eval()

    def judge(images: Images, prompts: Sequence[Any]) -> Tensor:
        model.net.to(images.device)
        # A copy, because what inference made cannot be kept for a gradient.
        read = token_vectors(model, captions_of(model).rows(list(prompts))).clone()
        return (score.seen(model, images) * read).sum(1)

    return judge


def verdict_of(model: Model[Any]) -> PictureJudge:
    """What a judge of scenes gives a picture for its caption."""
    logits, _ = asking(model.net)

    def judge(images: Images, prompts: Sequence[Any]) -> Tensor:
        told = [told_scene(prompt) for prompt in prompts]
        assert all(told), "prompts that ask for no scene were left out"
        return agreement(logits(images), [wanted_of(each) for each in told if each])

    return judge


def told_scene(prompt: Any) -> Scene | None:
    """The scene that a prompt asks for, if it is a caption that asks for one."""
    return heard(prompt) if isinstance(prompt, str) else None


def picture_of(stage: Stage, text: str, where: str) -> Tensor:
    """A picture of the store, as values.

    Raises:
        InputError: It is none, or of another size.
    """
    data = picture_in(text, where)
    found = decode(data, where, PictureOptions())
    if isinstance(found, Fault):
        raise InputError(f"cannot be read as a picture: {found.reason}", where=where, fix=found.fix)
    channels, size = stage.shape
    return fitting(to_values(found.image, channels), channels, size)
