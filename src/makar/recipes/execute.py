"""Jobs to finished run folders: started, resumed, refused or said to be done, all by the same call."""

import resource
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from makar.core.device import Machine, probe
from makar.core.errors import ResourceError
from makar.core.files import folder_atomic, lock, mending, write_atomic, write_json
from makar.core.say import Say, silent
from makar.data.packages import cache
from makar.engine.adapters import save_adapter
from makar.engine.load import STAGES
from makar.recipes.adapting import adapted_cost
from makar.recipes.assemble import Job, assemble
from makar.recipes.card import card
from makar.recipes.charts import draw_loss
from makar.recipes.load import RecipeFile
from makar.recipes.manifest import now, run_facts
from makar.recipes.plan import Plan, plan
from makar.recipes.run import HERE, Run, Workspace
from makar.train.distributed import World, join
from makar.train.loop import Outcome, fit, load_weights
from makar.train.metrics import Progress, loss_of, read_metrics

Show = Callable[[Progress], None]


@dataclass(frozen=True)
class Result:
    """What became of one stage.

    Args:
        run: Its folder.
        plan: What was expected; None where an earlier start had said it.
        outcome: How it ended; None if it was finished before.
    """

    run: Run
    plan: Plan | None
    outcome: Outcome | None


def train(
    file: RecipeFile,
    workspace: Workspace = HERE,
    *,
    force: bool = False,
    say: Say = silent,
    progress: Show | None = None,
) -> list[Result]:
    """Run every stage of a recipe: start it, go on with it, or say that it is finished.

    Args:
        file: From `load_recipe`.
        workspace: Where data and runs lie.
        force: Start also what the plan says does not fit.
        say: Takes lines for the reader.
        progress: Takes the state of things after each step.

    Returns:
        One result a stage, up to the first that a signal stopped.

    Raises:
        RunError: A run folder is in use, or began with another recipe.
        UserError: The recipe asks for what is not there, or for more than this machine has.
    """
    world = join()
    if world.rank > 0:
        say, progress = silent, None
    with world.first():
        check(file, workspace, say)
    fresh = [name for name in file.stages if world.rank == 0 and not workspace.run(name).manifest]
    plans = {name: plan(file, name, workspace) for name in fresh}
    for expected in plans.values():
        say(expected.text)
        if not force:
            expected.refuse()
    if world.rank == 0 and len(file.stages) > 1:
        folder = workspace.run(file.name).folder
        with mending(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / STAGES, [name.rsplit("/", 1)[-1] for name in file.stages])
    results: list[Result] = []
    for name, recipe in file.stages.items():
        run, expected = workspace.run(name), plans.get(name)
        if world.agree(run.finished):
            say(f"{run.folder}: finished at {run.manifest['finished']}; its model is in {run.model}")
            results.append(Result(run, None, None))
            continue
        with held(run, world):
            known = asdict(expected) if expected else run.manifest.get("plan", {})
            pace = world.agree(known.get("step_seconds"))
            with world.first():
                job = assemble(recipe, run, workspace, step_seconds=pace, say=say)
            outcome = carry_out(job, run, world, expected=expected, say=say, progress=progress)
        results.append(Result(run, expected, outcome))
        if outcome.interrupted:
            break
    return results


def check(file: RecipeFile, workspace: Workspace, say: Say) -> None:
    """Refuse now what would fail after hours: a run that began with another recipe, a model that is not there."""
    stages = [f"@{name.rsplit('/', 1)[-1]}" for name in file.stages] if len(file.stages) > 1 else []
    for name, recipe in file.stages.items():
        workspace.run(name).check(recipe.plain())
        for reference in recipe.references:
            if reference[1:] not in file.stages:
                workspace.model(reference, say, stages)


def execute(job: Job, run: Run, *, say: Say = silent, progress: Show | None = None) -> Outcome:
    """Train a job in its run folder, from the beginning or from where it was left, and write all that a run holds.

    Args:
        job: From `assemble`, or made by hand.
        run: Its folder.
        say: Takes lines for the reader.
        progress: Takes the state of things after each step.

    Raises:
        RunError: The folder is in use, or began with another recipe.
    """
    world = join()
    with held(run, world):
        return carry_out(job, run, world, say=say, progress=progress)


@contextmanager
def held(run: Run, world: World) -> Generator[None]:
    """Hold the run folder for all processes of this run; the first one has the lock."""
    if world.rank > 0:
        yield
        return
    with lock(run.folder):
        yield


def carry_out(
    job: Job, run: Run, world: World, *, expected: Plan | None = None, say: Say, progress: Show | None
) -> Outcome:
    """`execute` with the folder held."""
    machine: Machine = world.agree(probe(cache()) if world.rank == 0 else None)
    recipe = job.recipe or {"seed": job.seed, "train": job.train.model_dump(mode="json", exclude_none=True)}
    cost = adapted_cost(job.model.family.cost(job.model.config, job.length), job.model.net)
    if world.rank == 0:
        facts = {"family": job.model.family.name, "parameters": cost.parameters}
        facts |= {"units": cost.units[0], "length": cost.units[1], "averaged": job.train.ema_halflife, **job.facts}
        if job.train.ema_lengths:
            facts |= {"averaged": None, "averaged_share": job.train.ema_lengths[0]}
        if job.base is not None:
            facts["trained"] = sum(p.numel() for p in job.model.net.parameters() if p.requires_grad)
        facts |= {"machine": asdict(machine)} | ({"plan": asdict(expected)} if expected else {})
        run.begin(recipe, run_facts(run.folder.name, recipe, **facts))
    outcome = fit(
        job.model,
        job.source,
        job.objective,
        job.train,
        seed=job.seed,
        folder=run.folder,
        watches=job.watches,
        identity=job.identity,
        machine=machine,
        cost=cost,
        say=say,
        progress=progress,
    )
    if world.rank == 0 and not outcome.interrupted:
        finish(job, run, outcome, say)
    return outcome


def finish(job: Job, run: Run, outcome: Outcome, say: Say) -> None:
    """Write the model with its card, the chart, and last of all that the run is finished."""
    kept = outcome.step
    if outcome.best_step is not None and outcome.best_step < outcome.step:
        kept = outcome.best_step
        load_weights(job.model, run.folder, kept)
    run.note(outcome=ending(run.metrics, outcome, kept), decisions=dict(outcome.decisions))
    with folder_atomic(run.model) as place:
        if job.base is not None:
            save_adapter(job.model, place, job.base)
        else:
            job.model.family.folder.save(job.model.family.finish(job.model, job.source), place)
        write_atomic(place / "README.md", card(run.manifest))
    try:
        draw_loss(run.metrics, run.folder / "loss.png", f"{run.folder.name}: loss")
    except ResourceError as fault:  # a picture is not worth a failed run
        say(str(fault))
    run.note(finished=now())
    say(f"{run.folder}: finished; the model is in {run.model}")


def ending(metrics: Path, outcome: Outcome, kept: int) -> dict[str, Any]:
    """How a run ended, for its manifest.

    Args:
        metrics: The run's metrics file.
        outcome: What the trainer said.
        kept: The completed steps of the weights that are kept.
    """
    steps = [line for line in read_metrics(metrics) if "seconds" in line]
    looks = read_metrics(metrics, "watch")
    judged = [line for line in looks if line["step"] == kept and "score" in line]
    besides = ("kind", "watch", "step", "score", "seconds")
    return {
        "step": outcome.step,
        "weights_of_step": kept,
        "ended_early": outcome.ended,
        "training_loss": loss_of(steps[-1]) if steps else None,
        **{line["watch"]: {key: value for key, value in line.items() if key not in besides} for line in judged},
        "training_seconds": sum(line.get("seconds_since", line["seconds"]) for line in steps),
        "watching_seconds": sum(line.get("seconds", 0.0) for line in looks),
        "peak_memory": peak_memory(),
    }


def peak_memory() -> int:
    """Bytes that this process held at most, of the host's memory."""
    with suppress(OSError):  # not getrusage first: what it says includes the process that started this one
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
