"""Alignment of models of pictures, as a recipe says it: pairs made or chosen, objective, reference, who watches."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from makar.align.config import OF_PICTURES
from makar.align.direct import direct
from makar.align.picture_watch import HeldOut, straying
from makar.align.pictures import DrawnLevel, PicturePairs, PicturePrompt
from makar.align.score import log_prob_of
from makar.align.table import ALGORITHMS, check_options
from makar.core.config import parse
from makar.core.errors import InputError, RecipeError
from makar.core.nouns import Batch, Model, Source
from makar.core.say import Say
from makar.data.dataset import Dataset
from makar.data.table import TensorSource
from makar.families.diffusion import words
from makar.families.diffusion.caption import encoder_of
from makar.families.diffusion.words import readable
from makar.families.pictures import label_of
from makar.families.settings import square
from makar.recipes.alignment import Made, objective_of, reference_for, rollouts_of
from makar.recipes.captioned import captions_of
from makar.recipes.images import picture_samples, with_classes
from makar.recipes.picture_judges import Stage, judges, of_dataset, of_scenes, picture_of, told_scene
from makar.recipes.recipe import Recipe
from makar.recipes.run import Run, Workspace
from makar.recipes.text import counts, open_dataset
from makar.recipes.watches import validation
from makar.train.distributed import join
from makar.train.session import Periodic

CAPTIONS = 2000
"""That pictures are made of in training; those of the looks are of the validation."""


def aligned_pictures(
    recipe: Recipe, model: Model[Any], run: Run, workspace: Workspace, *, every: int, say: Say
) -> Made:
    """Make all that an objective of alignment needs, for a model of pictures.

    Args:
        recipe: Its objective is one of `align.config.OF_PICTURES`.
        model: Where it begins; its adapter, if the recipe has one, is attached.
        run: Whose metrics and samples are written.
        workspace: Where datasets and other runs lie.
        every: Steps between looks.
        say: For a line on each thing that takes time.

    Raises:
        UserError: The data, the rewards or the model cannot be used.
    """
    name = recipe.objective.name or ""
    if name not in OF_PICTURES:
        fix = f"set it to one of: {', '.join(OF_PICTURES)}"
        raise RecipeError("this objective learns from texts alone", where="objective.name", value=name, fix=fix)
    if recipe.watch.judged and recipe.data.rows != "scenes":
        fix = "set data.rows = 'scenes', or leave it out"
        raise RecipeError("only scenes are judged", where="watch.judged", value=recipe.watch.judged, fix=fix)
    check_options(name, recipe.objective.options)
    model = learner(replace(model, generation={**model.generation, **recipe.sample}))
    if name != "direct":
        log_prob_of(model)
    settings = square(parse(model.family.settings, dict(model.generation), f"{run.folder}: [sample]"))
    stage = Stage(recipe, model, settings, run, workspace, every, say)
    made = by_choices(stage) if recipe.data.rows == "preference" else by_rewards(stage)
    show = picture_samples(
        made.model, recipe.watch.prompts, settings, count=stage.classes, seed=recipe.seed, run=run, say=say
    )
    return replace(made, watches=[*made.watches, Periodic("samples", show, recipe.watch.sample_every or every)])


def learner(model: Model[Any]) -> Model[Any]:
    """A model as alignment sees it: it is finished, and noise is drawn for each pair."""

    def finished(found: Model[Any], source: Source) -> Model[Any]:  # noqa: ARG001
        return found

    family = replace(model.family, finish=finished)
    if family.name == "diffusion":
        family = replace(family, log_prob=DrawnLevel())
    return replace(model, family=family)


def by_rewards(stage: Stage) -> Made:
    """Alignment by rewards of pictures that the model makes itself.

    Raises:
        RecipeError: The model is told captions, and the data have none.
    """
    recipe, run, say = stage.recipe, stage.run, stage.say
    name, config = recipe.objective.name or "", rollouts_of(recipe)
    if stage.reads and recipe.data.rows == "image":
        fix = 'set data.rows = "captioned" or "scenes"'
        raise RecipeError("the model is told captions", where="data.rows", value=recipe.data.rows, fix=fix)
    seen = of_scenes(stage) if recipe.data.rows == "scenes" else of_dataset(stage)
    stage = replace(stage, model=with_classes(stage.model, seen.names) if seen.names else stage.model)
    prompts, asked = wanted(stage)
    if "scene" in (recipe.reward or {}):
        prompts, asked = [each for each in prompts if told_scene(each.asked)], [*filter(told_scene, asked)]
        if not prompts or not asked:
            fix = "begin from a model that is told captions of scenes, or reward something else"
            raise RecipeError("no prompt asks for a scene", where="reward.scene", fix=fix)
    rewards, judged = judges(stage, seen)
    reference = reference_for(recipe, stage.model)
    held = HeldOut(asked, seen.real, seen.see, stage.settings, recipe.seed)
    source: Source
    if name == "direct":
        options = recipe.objective.options
        objective = direct(reference, model=stage.model, rewards=rewards, prompts=prompts, **options)  # pyright: ignore[reportArgumentType]: checked above
        told = {column: torch.stack([each.told[column] for each in prompts]) for column in prompts[0].told}
        source = TensorSource({"prompt": torch.arange(len(prompts)), **told}, recipe.seed)
    else:
        objective = objective_of(recipe, reference if ALGORITHMS[name].compares else None)
        source = PicturePairs(
            stage.model, prompts, rewards, config, stage.settings, recipe.seed, stage.learned, join(), run.metrics
        )
    say(f"{len(prompts):,} prompts to make pictures of; {len(asked):,} pictures at each look")
    watch = straying(held, rewards, reference, config)
    facts = {"prompts": {"train": len(prompts), "held_out": len(asked)}, "rewards": [reward.name for reward in rewards]}
    return Made(
        model=stage.model,
        source=source,
        objective=objective,
        watches=[Periodic("held_out", watch, config.watch_every or stage.every), *seen.watches],
        identity={**seen.identity, **judged},
        facts={**seen.facts, **facts},
    )


def wanted(stage: Stage) -> tuple[list[PicturePrompt], list[Any]]:
    """What pictures are made of: in training, and at a look, one each.

    Raises:
        InputError: No caption can be read.
    """
    count = stage.recipe.watch.validate_rows
    if stage.reads:
        train, held = (captions_read(stage, split, rows) for split, rows in (("train", CAPTIONS), ("valid", count)))
        tokens = encoder_of(stage.model).rows(train)
        return [PicturePrompt(text, {"tokens": ids}) for text, ids in zip(train, tokens, strict=True)], held
    if not stage.classes:
        return [PicturePrompt()], [None] * count
    labels = range(stage.classes)
    return [PicturePrompt(label, {"label": torch.tensor(label)}) for label in labels], [
        place % stage.classes for place in range(count)
    ]


def captions_read(stage: Stage, split: str, count: int) -> list[str]:
    """The first captions of a split as the model's tower reads them: one that is too long loses its last words.

    Raises:
        InputError: None says anything to it.
    """
    encoder = encoder_of(stage.model)
    stream = captions_of(stage.recipe.data, split, seed=stage.recipe.seed, workspace=stage.workspace, say=stage.say)
    texts = [text.strip() for text in islice(stream, count)]
    found = [readable(encoder, text) for text in texts]
    kept = [text for text in found if text]
    if not kept:
        fix = "give pictures with captions in the words that the model was trained on"
        raise InputError(f"no caption of the {split} split can be read", where="data", value=len(texts), fix=fix)
    if lost := len(found) - len(kept):
        stage.say(f"{lost:,} of {len(texts):,} captions of the {split} split are blank or unknown: left out")
    if cut := sum(0 < len(read) < len(text) for read, text in zip(found, texts, strict=True)):
        stage.say(f"{cut:,} of {len(texts):,} captions of the {split} split are longer than the tower reads: cut")
    return kept


def by_choices(stage: Stage) -> Made:
    """Alignment by people's choices between two pictures: what `makar feedback` keeps."""
    recipe, say = stage.recipe, stage.say
    dataset = open_dataset(recipe.data, stage.workspace, say)
    train, valid = (TensorSource(chosen_rows(stage, dataset, split), recipe.seed) for split in ("train", "valid"))
    say(f"{train.length:,} pairs of pictures to train on; {valid.length:,} to validate")
    name, reference = recipe.objective.name or "", None
    if ALGORITHMS[name].compares:
        reference = reference_for(recipe, stage.model)
    objective = objective_of(recipe, reference)
    rows = min(recipe.watch.validate_rows, valid.length)
    judge = validation(objective, valid, rows=rows, seed=recipe.seed, run=stage.run)
    return Made(
        model=stage.model,
        source=train,
        objective=objective,
        watches=[Periodic("validation", judge, stage.every)],
        identity={"data": dataset.hash},
        facts={
            "data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)},
            "rows": {"train": train.length, "left_out": 0},
        },
    )


def chosen_rows(stage: Stage, dataset: Dataset, split: str) -> Batch:
    """The pairs of a split as columns.

    Raises:
        InputError: A row is no pair of pictures, or of another size or class than the model's; or there is none.
    """
    pictures: dict[str, list[Tensor]] = {"chosen": [], "rejected": []}
    asked: list[str] = []
    for document in dataset.documents(split):
        record = json.loads(document.text)
        asked.append(str(record["prompt"][-1]["content"]))
        for side, found in pictures.items():
            found.append(picture_of(stage, str(record[side][-1]["content"]), f"row {document.id}"))
    if not asked:
        fix = "choose more, or set data.collect.valid_fraction"
        raise InputError(f"the {split} split has no pairs", where=dataset.path, fix=fix)
    told = told_columns(stage, asked)
    columns = {f"{side}_images": stage.learned(torch.stack(found)) for side, found in pictures.items()}
    return columns | {f"{side}_{name}": column for side in pictures for name, column in told.items()}


def told_columns(stage: Stage, asked: Sequence[str]) -> Batch:
    """What the model is told of people's prompts: words that weighed more when the picture was made do so again.

    Raises:
        InputError: It knows no such class, or cannot read such a text.
    """
    if stage.reads:
        told = words.captions_of(stage.model, [prompt or None for prompt in asked])
        return {"told": told.tokens, "pooled": told.pooled}
    if not stage.classes:
        return {}
    names: tuple[str, ...] = getattr(stage.model.config, "classes", ())
    return {"label": torch.tensor([label_of(prompt, stage.classes, names, None) for prompt in asked])}
