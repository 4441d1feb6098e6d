"""Alignment as a recipe says it: rows of pairs or prompts, the objective, the reference, rewards, and who watches."""

import copy
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from makar.align.config import ROWS, RolloutConfig, text_of
from makar.align.functions import source_hash
from makar.align.reference import Reference
from makar.align.reward_model import from_language
from makar.align.rewards import Reward, make_rewards
from makar.align.rollouts import Prompt, Rollouts
from makar.align.table import ALGORITHMS, Algorithm, check_options, given_to
from makar.align.value import attach_value_head, foreseen, saved_without
from makar.align.watch import hacking
from makar.codecs.bpe import Bpe
from makar.codecs.chat import answered, prompt_ids
from makar.codecs.template import ChatTemplate
from makar.core.config import parse
from makar.core.errors import InputError, RecipeError
from makar.core.files import sha256
from makar.core.nouns import Batch, Model, Objective, Source
from makar.core.random import numpy_rng
from makar.core.say import Say
from makar.data.chats import unanswered
from makar.data.dataset import Dataset
from makar.data.table import TensorSource
from makar.engine.load import find_model
from makar.recipes.chats import CUT, speaking
from makar.recipes.manifest import hash_of
from makar.recipes.recipe import DataConfig, Recipe
from makar.recipes.run import Run, Workspace
from makar.recipes.text import counts, open_dataset
from makar.recipes.watches import samples, validation
from makar.train.config import TrainConfig
from makar.train.decisions import read_decisions
from makar.train.distributed import join
from makar.train.session import Periodic

Ids = tuple[list[int], list[bool]]
"""The tokens of a row, and which of them are the answer's."""


@dataclass(frozen=True)
class Made:
    """What is made of a recipe.

    Args:
        model: What is trained: with a value head where the objective has one, or as a reward model.
        source: Rows to train on.
        objective: The loss.
        watches: Look at the model as it learns.
        identity: Hashes by which a checkpoint knows whose it is.
        facts: For the manifest.
    """

    model: Model[Any]
    source: Source
    objective: Objective[Any]
    watches: Sequence[Periodic]
    identity: Mapping[str, str]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """What a stage of alignment is made of.

    Args:
        recipe: Says all.
        model: Where it begins.
        template: How a conversation is written.
        dataset: Of the kind that the objective learns from.
        run: Where it goes.
        every: Steps between looks, unless the recipe says otherwise.
        say: Takes lines for the reader.
    """

    recipe: Recipe
    model: Model[Any]
    template: ChatTemplate
    dataset: Dataset
    run: Run
    every: int
    say: Say

    @property
    def codec(self) -> Bpe:
        """The model's tokenizer."""
        return self.model.parts["codec"]


def aligned(recipe: Recipe, model: Model[Any], run: Run, workspace: Workspace, *, every: int, say: Say) -> Made:
    """Make all that an objective of alignment needs.

    Args:
        recipe: Its objective is one of `ALGORITHMS`.
        model: Where it begins; its adapter, if the recipe has one, is attached.
        run: Whose metrics and samples are written.
        workspace: Where datasets and other runs lie.
        every: Steps between looks.
        say: For a line on each thing that takes time.

    Raises:
        UserError: The data, the rewards or the model cannot be used.
    """
    name = recipe.objective.name or ""
    check_options(name, recipe.objective.options)
    if recipe.data.rows != ROWS[name]:  # of pictures
        fix = f"begin from a model of pictures, or set data.rows = {ROWS[name]!r}"
        raise RecipeError("this model makes no pictures", where="init", value=recipe.init, fix=fix)
    if recipe.adapter is not None and (name == "reward" or ALGORITHMS[name].foresees):
        fix = "take [adapter] out, or learn with 'grpo' or 'rloo'"
        raise RecipeError(f"the objective {name!r} trains a head beside the model", where="adapter", fix=fix)
    codec: Bpe | None = model.parts.get("codec")
    if codec is None:
        raise RecipeError("no tokenizer in it", where="init", value=recipe.init, fix="begin from a whole model folder")
    codec, template = speaking(codec)
    model = replace(model, parts={**model.parts, "codec": codec}, generation={**model.generation, **recipe.sample})
    rewards, judged = judges(recipe, codec, workspace)
    dataset = open_dataset(recipe.data, workspace, say)
    stage = Stage(recipe, model, template, dataset, run, every, say)
    made = by_rollouts(stage, rewards) if ROWS[name] == "prompts" else by_rows(stage)
    identity = {"data": dataset.hash, "tokenizer": codec.hash, "template": hash_of(template.source), **judged}
    facts = {"data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)}}
    facts |= {"tokenizer": {"hash": codec.hash, "vocab_size": codec.vocab_size}}
    return replace(made, identity=identity, facts={**facts, **made.facts})


def by_rows(stage: Stage) -> Made:
    """Alignment on rows that are there: preferences, judgements, a reward model."""
    recipe, model, run, say = stage.recipe, stage.model, stage.run, stage.say
    name = recipe.objective.name or ""
    make = {"preference": pair_columns, "judged": judged_columns}[ROWS[name]]
    train, left = make(stage, "train")
    valid, _ = make(stage, "valid")
    count, held = len(next(iter(train.values()))), len(next(iter(valid.values())))
    say(f"{count:,} {ROWS[name]} rows to train on" + (f", {left:,} left out for their length" if left else ""))
    objective = objective_of(recipe, reference_for(recipe, model) if ALGORITHMS[name].compares else None)
    rows = min(recipe.watch.validate_rows, held)
    judge = validation(objective, TensorSource(valid, recipe.seed), rows=rows, seed=recipe.seed, run=run)
    settings = parse(model.family.settings, model.generation, f"{run.folder}: [sample]")
    write = samples(recipe.watch.prompts, settings, seed=recipe.seed, run=run, say=say, chat=True)
    show = [Periodic("samples", write, recipe.watch.sample_every or stage.every)] if name != "reward" else []
    return Made(
        model=from_language(model, recipe.seed) if name == "reward" else model,
        source=TensorSource(train, recipe.seed),
        objective=objective,
        watches=[Periodic("validation", judge, stage.every), *show],
        identity={},
        facts={"rows": {"train": count, "left_out": left}},
    )


def by_rollouts(stage: Stage, rewards: Sequence[Reward]) -> Made:
    """Alignment on answers that the model makes itself."""
    recipe, model, run = stage.recipe, stage.model, stage.run
    algorithm, config = ALGORITHMS[recipe.objective.name or ""], rollouts_of(recipe)
    most = model.config.max_position_embeddings + 1 - config.max_tokens  # pyright: ignore[reportAttributeAccessIssue]
    asked = prompts(stage, "train", most, prompts_needed(recipe.train, config))
    held = prompts(stage, "valid", most, recipe.watch.validate_rows)
    stage.say(f"{len(asked):,} prompts to train on, {len(held):,} held out")
    reference = reference_for(recipe, model)
    penalty = algorithm.penalty(**given_to(algorithm.penalty, recipe.objective.options)) if algorithm.penalty else None
    assert algorithm.estimate is not None, "it learns from rollouts"
    if algorithm.foresees:
        attach_value_head(model.net)
        folder = replace(model.family.folder, save=saved_without(model.family.folder.save))
        model = replace(model, family=replace(model.family, folder=folder))
    source = Rollouts(
        model,
        asked,
        rewards,
        config,
        algorithm.estimate(**given_to(algorithm.estimate, recipe.objective.options)),
        recipe.seed,
        end_id=stage.codec.pad_id,
        reference=reference,
        penalty=penalty,
        values=foreseen if algorithm.foresees else None,
        at_once=recipe.train.micro_batch_size or recipe.train.batch_size,
        precision=lambda: read_decisions(run.folder).get("precision", "fp32"),
        world=join(),
        journal=run.metrics,
        say=stage.say,
    )
    watch = hacking(held, rewards, reference, config, seed=recipe.seed, samples=run.samples)
    return Made(
        model=model,
        source=source,
        objective=objective_of(recipe, None),
        watches=[Periodic("held_out", watch, config.watch_every or stage.every)],
        identity={},
        facts={"prompts": {"train": len(asked), "held_out": len(held)}, "rewards": [reward.name for reward in rewards]},
    )


def rollouts_of(recipe: Recipe) -> RolloutConfig:
    """The recipe's rollouts."""
    return recipe.rollouts or RolloutConfig()


def objective_of(recipe: Recipe, reference: Reference) -> Objective[Any]:
    """The objective with the recipe's options, and what follows from the rest of the recipe."""
    algorithm: Algorithm = ALGORITHMS[recipe.objective.name or ""]
    options = given_to(algorithm.objective, recipe.objective.options)
    if algorithm.compares:
        options |= {"reference": reference, "at_once": recipe.train.micro_batch_size or recipe.train.batch_size}
    if options.get("aggregate") == "constant":
        options["max_parts"] = rollouts_of(recipe).max_tokens
    return algorithm.objective(**options)


def reference_for(recipe: Recipe, model: Model[Any]) -> Reference:
    """What the trained model is compared with: a frozen copy, or the model itself without the recipe's adapter."""
    if recipe.adapter is not None:
        return None
    return replace(model, net=copy.deepcopy(model.net).requires_grad_(requires_grad=False).eval())


def judges(recipe: Recipe, codec: Bpe, workspace: Workspace) -> tuple[list[Reward], dict[str, str]]:
    """The recipe's rewards, and hashes of what they are made of; a reward model is found for its name.

    Raises:
        RecipeError: A reward cannot be made, or the reward model has another tokenizer.
    """
    if not recipe.reward:
        return [], {}
    table, path, hashes = dict(recipe.reward), text_of(recipe.reward, "model", "path"), dict[str, str]()
    if path is not None:
        folder = find_model(workspace.model(path))
        if Bpe.load(folder).hash != codec.hash:
            fix = "train the reward model from the same one"
            raise RecipeError("the reward model has another tokenizer", where="reward.model", value=path, fix=fix)
        table["model"] = {**(table["model"] if isinstance(table["model"], dict) else {}), "path": str(folder)}
        hashes["judge"] = sha256(folder / "model.safetensors")
    if (written := source_hash(table)) is not None:
        hashes["reward"] = written
    return make_rewards(table), hashes


def records(dataset: Dataset, split: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """The records of a split with the names of their rows."""
    for document in dataset.documents(split):
        yield document.id, json.loads(document.text)


def pair_columns(stage: Stage, split: str) -> tuple[Batch, int]:
    """Pairs of answers as columns, and how many were left out for their length.

    Raises:
        InputError: A pair's answers are equal or leave nothing to learn, too many pairs are too long, or there is none.
    """
    codec, length = stage.codec, stage.recipe.data.length
    most = length + (stage.recipe.objective.name != "reward")  # which reads the last token and predicts none
    chosen: list[Ids] = []
    rejected: list[Ids] = []
    left = 0
    for name, record in records(stage.dataset, split):
        pair = [answered(codec, stage.template, record, side, f"row {name}") for side in ("chosen", "rejected")]
        if pair[0] == pair[1]:
            raise InputError("the two answers are equal", where=f"row {name}", fix="leave the row out")
        if max(len(ids) for ids, _ in pair) > most:
            left += 1
            continue
        chosen.append(pair[0])
        rejected.append(pair[1])
    check_left(left, len(chosen), stage.recipe.data)
    tokens, mask = padded([*chosen, *rejected], codec.pad_id)
    count = len(chosen)
    return {
        "chosen_tokens": tokens[:count],
        "chosen_loss_mask": mask[:count],
        "rejected_tokens": tokens[count:],
        "rejected_loss_mask": mask[count:],
    }, left


def judged_columns(stage: Stage, split: str) -> tuple[Batch, int]:
    """Judged answers as columns, and how many were left out for their length.

    Raises:
        InputError: One leaves nothing to learn, too many are too long, or there is none.
    """
    data = stage.recipe.data
    found: list[Ids] = []
    labels: list[int] = []
    left = 0
    for name, record in records(stage.dataset, split):
        ids, mask = answered(stage.codec, stage.template, record, "completion", f"row {name}")
        if len(ids) > data.length + 1:
            left += 1
            continue
        found.append((ids, mask))
        labels.append(int(record["label"]))
    check_left(left, len(found), data)
    tokens, mask = padded(found, stage.codec.pad_id)
    return {"tokens": tokens, "loss_mask": mask, "label": torch.tensor(labels)}, left


def check_left(left: int, kept: int, data: DataConfig) -> None:
    """Refuse to leave out more than a little for its length: an answer that is cut has no end to learn.

    Raises:
        InputError: Says how many, and what to raise.
    """
    if not kept + left:
        raise InputError("there are no rows", where="data", fix="collect more, or with a larger valid_fraction")
    if not kept or left > (CUT if data.cut is None else data.cut) * (kept + left):
        fix = "raise data.length, or data.cut, the share that may be left out"
        value = f"{left} of {kept + left}"
        raise InputError("rows longer than data.length", where=f"data.length {data.length}", value=value, fix=fix)


def padded(rows: Sequence[Ids], pad_id: int) -> tuple[Tensor, Tensor]:
    """Rows as one table of tokens and one of what is learned, as wide as the longest."""
    tokens = [torch.tensor(ids) for ids, _ in rows]
    masks = [torch.tensor(mask) for _, mask in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(tokens, batch_first=True, padding_value=pad_id), pad(masks, batch_first=True, padding_value=False)


def prompts_needed(train: TrainConfig, config: RolloutConfig) -> int:
    """How many prompts a run asks altogether."""
    rollouts = math.ceil(train.steps / (config.batches * config.epochs))
    return rollouts * config.batches * train.batch_size // config.group


def prompts(stage: Stage, split: str, most: int, count: int) -> list[Prompt]:
    """Some records of a split as prompts, chosen by the seed; in their order.

    Args:
        stage: Whose dataset.
        split: Which part of it.
        most: The longest that leaves room for an answer.
        count: So many, or all where there are fewer: a template takes milliseconds to write each.

    Raises:
        InputError: A prompt is too long, or there is none.
    """
    found: list[Prompt] = []
    rows = list(records(stage.dataset, split))
    chosen = numpy_rng(stage.recipe.seed, "prompts", split).permutation(len(rows))[:count]
    for name, whole in (rows[k] for k in sorted(chosen.tolist())):
        record = unanswered(whole)
        ids = prompt_ids(stage.codec, stage.template, record["prompt"], record.get("tools"))
        if len(ids) > most:
            fix = "lower rollouts.max_tokens, or begin from a model of a longer context"
            raise InputError("a prompt leaves no room for an answer", where=f"row {name}", value=len(ids), fix=fix)
        found.append(Prompt(tuple(ids), str(record["prompt"][-1]["content"]), record))
    if not found:
        raise InputError("there are no prompts", where="data", fix="collect more, or with a larger valid_fraction")
    return found
