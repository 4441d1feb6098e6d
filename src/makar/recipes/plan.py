"""What a run will need, said before it starts: memory and disk by arithmetic, time by a probe of a few real steps."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from makar.core.config import Config
from makar.core.device import Precision, probe
from makar.core.errors import ResourceError
from makar.core.files import nearest
from makar.core.nouns import Family
from makar.data.packages import cache
from makar.engine.load import open_model
from makar.families.diffusion.control import showing
from makar.families.table import family
from makar.recipes.adapting import adapted_cost
from makar.recipes.assemble import check_objective, check_rows
from makar.recipes.load import RecipeFile
from makar.recipes.pace import forecast, step_seconds
from makar.recipes.run import HERE, Workspace
from makar.recipes.space import disk_needed, memory_free, memory_needed, skeleton
from makar.recipes.text import bytes_to_make, tokens_known
from makar.train.precision import choose


@dataclass(frozen=True)
class Plan:
    """What a run needs, beside what this machine has.

    Args:
        run: The run's folder.
        parameters: Scalars in the net.
        units: What is counted ("tokens"), and how many the whole run sees.
        flops: Of the whole run.
        memory: Bytes at the peak, by what they are for.
        free_memory: Bytes that could be had now.
        disk: Bytes, by what they are for.
        free_disk: Bytes where the run will lie.
        precision: Of forward and backward.
        compiled: Whether compiling the blocks will pay.
        step_seconds: Measured, eager; None where no rows could be made for a probe.
        seconds: Of the whole run.
        epochs: How often the corpus is seen; None until it is encoded.
    """

    run: str
    parameters: int
    units: tuple[str, int]
    flops: float
    memory: Mapping[str, int]
    free_memory: int
    disk: Mapping[str, int]
    free_disk: int
    precision: Precision
    compiled: bool
    step_seconds: float | None
    seconds: float | None
    epochs: float | None

    @property
    def fits(self) -> bool:
        """Whether memory and disk suffice."""
        return sum(self.memory.values()) <= self.free_memory and sum(self.disk.values()) <= self.free_disk

    def refuse(self) -> None:
        """Stop a run that does not fit.

        Raises:
            ResourceError: Says what lacks, and what would make it fit.
        """
        for name, needs, free, fix in (
            ("memory", self.memory, self.free_memory, "lower train.micro_batch_size or the model"),
            ("disk", self.disk, self.free_disk, "free some space or name another folder with --run"),
        ):
            needed = sum(needs.values())
            if needed > free:
                value = f"{gigabytes(needed)} needed, {gigabytes(free)} free"
                what = f"not enough {name} for this run"
                raise ResourceError(what, where=self.run, value=value, fix=f"{fix}; --force starts anyway")

    @property
    def text(self) -> str:
        """The plan in a few lines."""
        name, count = self.units
        epochs = f", {self.epochs:.2g} times the corpus" if self.epochs is not None else ""
        pace = "not measured"
        if self.seconds is not None and self.step_seconds is not None:
            compiled = ", then compiled" if self.compiled else ""
            pace = f"about {duration(self.seconds)} ({self.step_seconds:.2g} s a step in {self.precision}{compiled})"
        return "\n".join(
            (
                f"plan of {self.run}",
                f"  model   {self.parameters:,} parameters",
                f"  work    {count:,} {name}{epochs}, {self.flops:.2g} floating-point operations",
                f"  memory  {gigabytes(sum(self.memory.values()))} of {gigabytes(self.free_memory)} free",
                f"  disk    {gigabytes(sum(self.disk.values()))} of {gigabytes(self.free_disk)} free",
                f"  time    {pace}",
            )
        )


def plan(file: RecipeFile, name: str, workspace: Workspace = HERE) -> Plan:
    """Say what a stage needs; nothing is collected, written or trained.

    Args:
        file: From `load_recipe`.
        name: Of the stage's run, a key of `file.stages`.
        workspace: Where the run will lie.

    Raises:
        RecipeError: The recipe asks for what the family lacks.
    """
    recipe, folder = file.stages[name], workspace.run(name).folder
    made, config = model_of(file, name, workspace)
    check_rows(recipe, config)
    net, machine = skeleton(made, config, recipe.adapter), probe(cache())
    cost = adapted_cost(made.cost(config, recipe.data.length), net)
    precision = choose(recipe.train.precision, machine)
    memory = memory_needed(made, config, recipe, cost, precision)
    free_memory, free_disk = memory_free(machine), shutil.disk_usage(nearest(folder)).free
    fits = sum(memory.values()) <= free_memory  # what does not fit is not tried
    step = step_seconds(recipe, made, config, cost, machine) if fits else None
    compiled, seconds = (False, None) if step is None else forecast(recipe, made.blocks(net), step)
    vocab_size = getattr(config, "vocab_size", 0)
    known = tokens_known(recipe.data, vocab_size, recipe.seed, workspace)
    to_make = bytes_to_make(recipe.data, vocab_size, recipe.seed, workspace)
    count = recipe.train.steps * recipe.train.batch_size * cost.units[1]
    return Plan(
        run=str(folder),
        parameters=cost.parameters,
        units=(cost.units[0], count),
        flops=recipe.train.steps * recipe.train.batch_size * cost.flops,
        memory=memory,
        free_memory=free_memory,
        disk={**disk_needed(recipe.train, memory), **to_make},
        free_disk=free_disk,
        precision=precision,
        compiled=compiled,
        step_seconds=step,
        seconds=seconds,
        epochs=count / known if known else None,
    )


def model_of(file: RecipeFile, name: str, workspace: Workspace) -> tuple[Family[Any], Config]:
    """The family and the config that a stage trains, through the stages that it begins from."""
    recipe = file.stages[name]
    if recipe.init is None:
        assert recipe.model is not None, "the recipe has one of the two"
        made = family(recipe.model.family)  # pyright: ignore[reportAttributeAccessIssue]: every family's tag
        check_objective(recipe, made)
        return made, recipe.model
    if recipe.init[1:] in file.stages:
        made, config = model_of(file, recipe.init[1:], workspace)
    else:
        found = open_model(workspace.model(recipe.init))
        made, config = found.family, found.config
        check_objective(recipe, made)
    return made, config if recipe.control is None else showing(config, recipe.control)


def gigabytes(count: int) -> str:
    """Bytes in gigabytes."""
    return f"{count / 1e9:.2f} GB"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if seconds >= 120 else f"{seconds:.0f} s"
