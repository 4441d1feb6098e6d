"""Time of a run, from a few real steps on this machine."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from makar.align.config import ROWS, UNCOMPARED
from makar.align.table import ALGORITHMS
from makar.core.config import Config
from makar.core.device import Machine
from makar.core.nouns import Batch, Cost, Family, Model
from makar.core.random import key_of
from makar.families.diffusion.cost import CAPTION
from makar.families.llava.config import LlavaConfig
from makar.nets.mmdit_config import MMDiTConfig
from makar.recipes.adapting import adapt
from makar.recipes.assemble import LOOKS, check_kind, make_objective, makes_pictures, vocabulary
from makar.recipes.recipe import ObjectiveConfig, Recipe
from makar.recipes.talks import noise as talk_noise
from makar.train.blocks import COMPILE_GAIN, COMPILE_SECONDS, kinds, prepared, worth_compiling
from makar.train.distributed import World
from makar.train.optim import make_player
from makar.train.precision import choose
from makar.train.step import Setting, train_step

PROBE_SECONDS = 4.0
"""After the first step, which warms up, the probe takes steps for so long."""

PROBE_STEPS = 20
"""At most."""

WHOLE_STEP = 2.0
"""Forecast seconds of a step up to which the probe takes whole ones; of longer ones it takes two smaller sizes."""

USUAL_SHARE = 0.4
"""Of the machine's peak that training reaches, to choose the probe's size."""


def step_seconds(recipe: Recipe, made: Family[Any], config: Config, cost: Cost, machine: Machine) -> float | None:
    """Seconds of one eager optimizer step, measured on rows of noise.

    A step that would take long is measured at two smaller sizes and drawn out as a straight line through them. One of
    alignment takes at most what learning all its answers takes, and a third more where a reference reads them too.
    """
    name, passes = recipe.objective.name or "", 1.0
    if name in ALGORITHMS:
        if recipe.reward or makes_pictures(made):
            return None  # depends on how long the answers are, or on how pictures are made
        passes = (2 if ROWS[name] == "preference" else 1) * (1 if name in UNCOMPARED else 4 / 3)
        recipe = recipe.model_copy(update={"objective": ObjectiveConfig()})
    train, precision = recipe.train, choose(recipe.train.precision, machine)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = made.build(config).to(machine.device)
    model, objective = Model(made, config, net), make_objective(recipe, made)
    adapt(net, made.blocks(net), recipe.adapter)
    blocks = made.blocks(net)
    compute = torch.bfloat16 if precision == "bf16" else torch.float32
    players = [make_player(net, path, blocks, train.optimizer, compute) for path in objective.players]
    setting = Setting(model, objective, players, train, recipe.seed, World(), precision)
    rows = rows_in(WHOLE_STEP * USUAL_SHARE * machine.peak(precision), train.batch_size, cost)

    def seconds(rows: int) -> float:
        return passes * pace(setting, noise(rows, recipe, model))

    with torch.random.fork_rng(devices=[]), prepared(blocks, recompute=train.recompute):
        whole = seconds(rows)
        if rows == train.batch_size:
            return whole
        half = max(1, rows // 2)
        each = (whole - seconds(half)) / (rows - half) if rows > half else whole / rows
        return whole + max(each, whole / rows / 2) * (train.batch_size - rows)


def rows_in(flops: float, most: int, cost: Cost) -> int:
    """Rows whose training takes so many operations, at least one."""
    return max(1, min(most, int(flops / cost.flops)))


def noise(rows: int, recipe: Recipe, model: Model[Any]) -> Batch:
    """Random pictures, or tokens in the shape of the recipe's rows."""
    random = torch.Generator().manual_seed(key_of(recipe.seed, "noise") >> 1)
    if check_kind(recipe, model.family) == "image":
        if "tokens" in model.family.inputs:
            return captioned_noise(rows, model.config, random)
        net: Any = model.config.net  # pyright: ignore[reportAttributeAccessIssue]: every family of pictures has one
        images = torch.randn(rows, net.in_channels, net.sample_size, net.sample_size, generator=random)
        if isinstance(net, MMDiTConfig):  # its tower is small beside it, and what it says is random too
            told = torch.randn(rows, CAPTION, net.joint_attention_dim, generator=random)
            return {"images": images, "told": told, "pooled": told.new_zeros(rows, net.pooled_projection_dim)}
        return {"images": images, "label": torch.arange(rows) % max(1, net.num_classes)}
    if isinstance(model.config, LlavaConfig):
        return talk_noise(rows, recipe.data.length, model.config, random)
    shape = (rows, recipe.data.length + 1)
    tokens = torch.randint(vocabulary(model), shape, generator=random)
    places = torch.arange(shape[1], dtype=torch.int32).expand(shape) // 128
    return {"tokens": tokens, "segments": places} if recipe.data.documents else {"tokens": tokens}


def captioned_noise(rows: int, config: Any, random: torch.Generator) -> Batch:
    """Random pictures, each with a random text that is as long as texts may be."""
    side, words = config.vision.image_size, (rows, config.text.max_position_embeddings)
    images = torch.randn(rows, config.vision.num_channels, side, side, generator=random)
    return {"images": images, "tokens": torch.randint(config.text.vocab_size, words, generator=random)}


def pace(setting: Setting, batch: Batch) -> float:
    """Seconds of a step: the median of those after the first."""
    found: list[float] = []
    train_step(setting, batch, 0, (0.0, 0.0))
    end = time.perf_counter() + PROBE_SECONDS
    while not found or (time.perf_counter() < end and len(found) < PROBE_STEPS):
        start = time.perf_counter()
        _, vector = train_step(setting, batch, 1 + len(found), (0.0, 0.0))
        vector.tolist()  # waits for the device
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def forecast(recipe: Recipe, blocks: Sequence[nn.Module], step: float) -> tuple[bool, float]:
    """Whether the run will be compiled, and its seconds with validations, without samples.

    Args:
        recipe: One stage.
        blocks: The repeated units.
        step: Seconds of an eager step.
    """
    train, watch = recipe.train, recipe.watch
    wish = train.compile
    compiled = wish == "on" or (wish == "auto" and worth_compiling(blocks, step, train.steps))
    seconds = train.steps * step
    if compiled:
        seconds = seconds / COMPILE_GAIN + COMPILE_SECONDS * kinds(blocks)
    looks = train.steps / (watch.validate_every or max(1, train.steps // LOOKS))
    forward = step / 3 / train.batch_size  # backward is twice as long; of a row
    return compiled, seconds + looks * watch.validate_rows * forward
