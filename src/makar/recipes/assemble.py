"""The one place where everything is handed to everything: a recipe becomes a model, rows, an objective and watches."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from makar.align.table import ALGORITHMS, check_options
from makar.codecs.bpe import Bpe
from makar.codecs.captions import train_captions
from makar.core.config import Config, nearest, parse
from makar.core.errors import RecipeError
from makar.core.files import sha256
from makar.core.nouns import Family, Model, Objective, Source
from makar.core.random import key_of
from makar.core.say import Say, silent
from makar.engine.adapters import merged
from makar.engine.load import find_model, open_model
from makar.families.diffusion.control import controlled
from makar.families.pictures import only_gives_back
from makar.families.table import family
from makar.recipes.adapting import adapt, learning_word
from makar.recipes.alarm import collapse_alarm
from makar.recipes.alignment import Made, aligned
from makar.recipes.alignment_pictures import aligned_pictures
from makar.recipes.attributes import attributes
from makar.recipes.captioned import captioned_rows, captions_of
from makar.recipes.chats import chat_rows
from makar.recipes.images import SHOWN, ImageRows, image_rows, picture_returns, picture_samples, with_classes
from makar.recipes.latents import latent_rows
from makar.recipes.manifest import hash_of
from makar.recipes.recipe import Recipe
from makar.recipes.run import Run, Workspace
from makar.recipes.space import compares
from makar.recipes.subject import subject_rows
from makar.recipes.talks import TALKS, talked
from makar.recipes.text import text_rows
from makar.recipes.walk import WALKS, latent_walk
from makar.recipes.watches import samples, validation
from makar.train.config import TrainConfig
from makar.train.session import Periodic

LOOKS = 10
"""Validations in a run, if the recipe does not say."""

CAPTIONED = ("captioned", "scenes")
"""Rows of pictures that have captions."""

SAMPLE_SECONDS = 60
"""Between samples, if the recipe does not say."""


@dataclass(frozen=True)
class Job:
    """Everything that `execute` needs; made by `assemble`, or by hand for a family that no recipe knows.

    Args:
        model: Fresh or loaded.
        source: Rows to train on.
        objective: The loss.
        train: How to train.
        seed: All randomness of the run.
        length: What the family's cost calls the length of a row.
        watches: Look at the model as it learns.
        recipe: Plain data, written to the run folder; a later start with another one is refused.
        identity: Hashes by which a checkpoint knows whose it is.
        facts: For the manifest: data, tokenizer, parent.
        base: The folder of the model whose adapter is trained; None where all of the model is.
    """

    model: Model[Any]
    source: Source
    objective: Objective[Any]
    train: TrainConfig
    seed: int = 0
    length: int = 1
    watches: Sequence[Periodic] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    identity: Mapping[str, str] = field(default_factory=dict[str, str])
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    base: Path | None = None


def assemble(
    recipe: Recipe,
    run: Run,
    workspace: Workspace,
    *,
    step_seconds: float | None = None,
    say: Say = silent,
) -> Job:
    """Make everything that a recipe names; what takes long (collecting, encoding) is done once and kept.

    Args:
        recipe: One stage.
        run: Where its samples go.
        workspace: Where datasets and other runs lie.
        step_seconds: As the plan measured it, to sample about once a minute; None samples at each validation.
        say: For a line on each thing that takes time.

    Raises:
        UserError: The recipe asks for what the family, the data or another run do not have.
    """
    model = begin(recipe, workspace)
    every = recipe.watch.validate_every or max(1, recipe.train.steps // LOOKS)
    if recipe.objective.name in ALGORITHMS:
        align = aligned_pictures if makes_pictures(model.family) else aligned
        return job_of(recipe, workspace, align(recipe, model, run, workspace, every=every, say=say))
    objective = make_objective(recipe, model.family)
    settings = parse(model.family.settings, {**model.generation, **recipe.sample}, f"{run.folder}: [sample]")
    pace = max(1, round(SAMPLE_SECONDS / step_seconds)) if step_seconds else every
    if check_kind(recipe, model.family) == "image":
        if "tokens" in model.family.inputs:
            made = captioned(recipe, model, objective, run, workspace, every=every, say=say)
        else:
            made = pictured(recipe, model, objective, run, workspace, every=every, pace=pace, say=say)
        return job_of(recipe, workspace, made)
    codec, size = tokenizer_of(recipe, model), vocabulary(model)
    if recipe.data.rows in TALKS:
        made = talked(recipe, model, codec, objective, run=run, workspace=workspace, every=every, say=say)
        return job_of(recipe, workspace, made)
    chat = recipe.data.rows == "chat"
    if chat:
        rows = chat_rows(recipe.data, codec, size, seed=recipe.seed, workspace=workspace, say=say)
    else:
        rows = text_rows(recipe.data, codec, size, seed=recipe.seed, workspace=workspace, say=say)
    model = replace(model, parts={**model.parts, "codec": rows.codec}, generation={**model.generation, **recipe.sample})
    judge = validation(
        objective,
        rows.valid,
        rows=recipe.watch.validate_rows,
        seed=recipe.seed,
        run=run,
        bits_per_byte=rows.bits_per_byte,
    )
    write = samples(recipe.watch.prompts, settings, seed=recipe.seed, run=run, say=say, chat=chat)
    watches = [Periodic("validation", judge, every), Periodic("samples", write, recipe.watch.sample_every or pace)]
    return job_of(recipe, workspace, Made(model, rows.train, objective, watches, rows.identity, rows.facts))


def pictured(
    recipe: Recipe,
    model: Model[Any],
    objective: Objective[Any],
    run: Run,
    workspace: Workspace,
    *,
    every: int,
    pace: int,
    say: Say,
) -> Made:
    """Rows of pictures for a family that learns them, and its looks at itself."""
    if recipe.word is not None:
        model, objective = learning_word(recipe.word, model, objective)
    net: Any = model.config.net  # pyright: ignore[reportAttributeAccessIssue]: every family of pictures has one
    rows = rows_of_pictures(recipe, model, net, workspace, say)
    model = with_classes(model, rows.classes)
    model = replace(model, generation={**model.generation, **recipe.sample})
    settings = parse(model.family.settings, model.generation, f"{run.folder}: [sample]")
    looked, asked, count = recipe.watch.validate_rows, recipe.watch.prompts, net.num_classes
    if "generator" in objective.players:  # the losses of a game judge nobody
        steps = recipe.train.steps
        alarm = collapse_alarm(
            rows.valid, rows.train, settings, rows=looked, steps=steps, classes=count, seed=recipe.seed
        )
        watches = [Periodic("collapse", alarm, every, guards=True)]
    else:
        judge = validation(objective, rows.valid, rows=looked, seed=recipe.seed, run=run)
        watches = [Periodic("validation", judge, every)]
    if model.family.name in WALKS:
        walk = latent_walk(settings, classes=count, seed=recipe.seed, run=run)
        watches.append(Periodic("walk", walk, every))
    pace = recipe.watch.sample_every or pace
    if model.family.reconstructs:
        held = list(rows.valid.batch(0, SHOWN // 2)["images"])
        back = picture_returns(held, settings, seed=recipe.seed, run=run, say=say)
        watches.append(Periodic("returns", back, pace))
    if not only_gives_back(model.family):
        show = picture_samples(model, asked, settings, count=count, seed=recipe.seed, run=run, say=say)
        watches.append(Periodic("samples", show, pace))
    if recipe.watch.judged:
        watches.append(Periodic("attributes", attributes(recipe, model, settings, say), every))
    return Made(model, rows.train, objective, watches, rows.identity, rows.facts)


def rows_of_pictures(recipe: Recipe, model: Model[Any], net: Any, workspace: Workspace, say: Say) -> ImageRows:
    """Rows of pictures, or of their latents for a model with a codec; with captions for one that is told texts."""
    data, seed, codec, text = recipe.data, recipe.seed, model.parts.get("codec"), model.parts.get("text")
    if data.rows == "subject":
        return subject_rows(data, model, recipe.sample, seed=seed, workspace=workspace, say=say)
    if data.rows != "image":
        encode, size, channels = None if text is None else text.rows, net.sample_size, net.in_channels
        least = recipe.train.batch_size
        return captioned_rows(
            data, encode, size, channels, codec=codec, text=text, refuse=None if text is None else text.ids, net=net,
            least=least, seed=seed, workspace=workspace, say=say,
        )  # fmt: skip
    if codec is not None:
        return latent_rows(data, codec, net, seed=seed, workspace=workspace, say=say)
    return image_rows(data, net.sample_size, net.in_channels, seed=seed, workspace=workspace, say=say)


def captioned(
    recipe: Recipe,
    model: Model[Any],
    objective: Objective[Any],
    run: Run,
    workspace: Workspace,
    *,
    every: int,
    say: Say,
) -> Made:
    """Rows of pictures and captions for a family that learns both, and its look at itself.

    A tokenizer that the model lacks is trained on the captions.
    """
    data, vision, text = recipe.data, model.config.vision, model.config.text  # pyright: ignore[reportAttributeAccessIssue]
    codec = model.parts.get("codec")
    if codec is None:
        found = captions_of(data, seed=recipe.seed, workspace=workspace, say=say)
        codec = train_captions(found, text.vocab_size, text.max_position_embeddings)
    seed, size, channels = recipe.seed, vision.image_size, vision.num_channels
    rows = captioned_rows(
        data, codec.rows, size, channels, refuse=codec.ids, seed=seed, workspace=workspace, say=say
    )  # fmt: skip
    together = recipe.train.batch_size  # out of more, it is harder to find what belongs together
    judge = validation(objective, rows.valid, rows=recipe.watch.validate_rows, at_once=together, seed=seed, run=run)
    model = replace(model, parts={**model.parts, "codec": codec}, generation={**model.generation, **recipe.sample})
    identity = {**rows.identity, "tokenizer": codec.hash}
    return Made(model, rows.train, objective, [Periodic("validation", judge, every)], identity, rows.facts)


def makes_pictures(made: Family[Any]) -> bool:
    """Whether a family makes pictures, and does not read them beside texts."""
    return "images" in made.inputs and "tokens" not in made.inputs


def check_kind(recipe: Recipe, made: Family[Any]) -> str:
    """What a recipe's rows hold: "image" where the family learns pictures, with captions or without.

    Raises:
        RecipeError: The family learns other rows than the recipe names.
    """
    kind, rows = "image" if "images" in made.inputs else "text", recipe.data.rows
    known = CAPTIONED if "tokens" in made.inputs else ("image", *CAPTIONED, "subject")
    if kind == "image" and rows not in known or kind == "text" and rows in ("image", *CAPTIONED, "subject"):
        what, fix = f"the family {made.name!r} learns other rows", known[0] if kind == "image" else kind
        raise RecipeError(what, where="data.rows", value=rows, fix=f"set data.rows={fix!r}")
    return kind


def job_of(recipe: Recipe, workspace: Workspace, made: Made) -> Job:
    """What was made of a recipe, with what is known of the recipe itself and of the models that it begins from."""
    plain, parents = recipe.plain(), parent(recipe, workspace)
    return Job(
        model=made.model,
        source=made.source,
        objective=made.objective,
        train=recipe.train,
        seed=recipe.seed,
        length=recipe.data.length,
        watches=made.watches,
        recipe=plain,
        identity={"recipe": hash_of(plain), **made.identity, **base_identity(recipe, parents, made.model)},
        facts={**made.facts, **({"parent": parents} if parents else {})},
        base=base_folder(recipe, workspace),
    )


def begin(recipe: Recipe, workspace: Workspace) -> Model[Any]:
    """The model before training: fresh weights from the seed, or those that the recipe begins from.

    An adapter among the latter is worked into the weights; the recipe's own is attached, and all else frozen.

    Raises:
        UserError: What it begins from is not there or not whole, or a part is not one that the family takes.
    """
    parts = {name: part(name, reference, workspace) for name, reference in recipe.parts.items()}
    if recipe.init is not None:
        found = merged(open_model(workspace.model(recipe.init)))
        check_rows(recipe, found.config)
        adapt(found.net, found.family.blocks(found.net), recipe.adapter, recipe.seed)
        found = found if recipe.control is None else controlled(found, recipe.control)
        return replace(found, parts={**found.parts, **parts})
    assert recipe.model is not None, "the recipe has one of the two"
    made = family(recipe.model.family)  # pyright: ignore[reportAttributeAccessIssue]: the tag of every family's config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(recipe.seed, "weights"))
        return made.compose(Model(made, recipe.model, made.build(recipe.model), parts))


def check_rows(recipe: Recipe, config: Config) -> None:
    """Refuse rows longer than the context of the model that a recipe begins from.

    Raises:
        RecipeError: Says both lengths.
    """
    length = recipe.data.length
    context = getattr(config, "max_position_embeddings", length)
    if length > context:
        fix = f"{recipe.init} was trained at {context}: lower it"
        raise RecipeError("rows are longer than the model's context", where="data.length", value=length, fix=fix)


def base_folder(recipe: Recipe, workspace: Workspace) -> Path | None:
    """Where the model lies that a recipe's adapter belongs to."""
    if recipe.adapter is None or recipe.init is None:
        return None
    return find_model(workspace.model(recipe.init))


def base_identity(recipe: Recipe, parents: Mapping[str, Any], model: Model[Any]) -> dict[str, str]:
    """The hash of the weights that a run needs and its checkpoints do not hold: frozen ones, or compared with."""
    found: dict[str, str] = {}
    frozen = not all(weight.requires_grad for weight in model.net.parameters())
    if recipe.init and (frozen or compares(recipe)):
        found["base"] = hash_of(parents[recipe.init]["weights"])
    elif frozen:
        found["parts"] = hash_of({name: parents[each]["weights"] for name, each in recipe.parts.items()})
    return found


def part(name: str, reference: str, workspace: Workspace) -> Any:
    """A part from another model: its own one of that name (a tokenizer is a "codec"), or else the model itself.

    A model that can be a codec is one, where that is the part's name; one that can read texts is a reader, as "text".
    """
    found = merged(open_model(workspace.model(reference)))
    make = {"codec": found.family.codec, "text": found.family.text}.get(name)
    if name not in found.parts and make is not None:
        return make(found)
    return found.parts.get(name, found)


def vocabulary(model: Model[Any]) -> int:
    """How many tokens a model knows.

    Raises:
        RecipeError: It does not read tokens.
    """
    size = getattr(model.config, "vocab_size", None)
    if size is None or "tokens" not in model.family.inputs:
        family = model.family.name
        raise RecipeError("it does not read tokens", where="model.family", value=family, fix="name one that does")
    return size


def tokenizer_of(recipe: Recipe, model: Model[Any]) -> Bpe | None:
    """The tokenizer that a model brings; None if one is to be trained.

    Raises:
        RecipeError: A model that is given has none, or one with more tokens than it knows itself.
    """
    codec = model.parts.get("codec")
    if codec is None and recipe.init is None:
        return None
    if not isinstance(codec, Bpe):
        fix = "name a model that has one: parts = {codec = '@run'}"
        raise RecipeError(
            "no tokenizer in it", where="parts.codec" if codec else "init", value=recipe.references[0], fix=fix
        )
    if codec.vocab_size > vocabulary(model):
        fix = f"set model.vocab_size={codec.vocab_size}"
        raise RecipeError("the tokenizer has more tokens than the model", value=codec.vocab_size, fix=fix)
    return codec


def check_objective(recipe: Recipe, made: Family[Any]) -> None:
    """Refuse an objective, or an option of it, that neither the family nor alignment knows.

    Raises:
        RecipeError: With the nearest that there is.
    """
    name = recipe.objective.name
    if name is not None and name in ALGORITHMS:
        check_options(name, recipe.objective.options)
    else:
        make_objective(recipe, made)


def make_objective(recipe: Recipe, made: Family[Any]) -> Objective[Any]:
    """The objective that a recipe names, or the family's first.

    Raises:
        RecipeError: The family has none of that name, or it takes no such option.
    """
    name = recipe.objective.name or next(iter(made.objectives))
    if name not in made.objectives:
        what = f"the family {made.name!r} has no such objective"
        raise RecipeError(what, where="objective.name", value=name, fix=nearest(name, [*made.objectives, *ALGORITHMS]))
    make, options = made.objectives[name], recipe.objective.options
    known = [option for option in inspect.signature(make).parameters if option != "players"]
    for option, value in options.items():
        if option not in known:
            what = f"the objective {name!r} has no option {option!r}"
            raise RecipeError(what, where="objective.options", value=value, fix=nearest(option, known))
    return make(**options)


def parent(recipe: Recipe, workspace: Workspace) -> dict[str, Any]:
    """Where a model came from that this one begins from or takes parts of: folders and their weights' hashes."""
    found: dict[str, Any] = {}
    for reference in recipe.references:
        folder = workspace.model(reference)
        weights = {str(file.relative_to(folder)): sha256(file) for file in sorted(folder.rglob("*.safetensors"))}
        found[reference] = {"folder": str(folder), "weights": weights}
    return found
