"""The command line. It parses, calls `app/api.py` and prints; results to stdout, everything else to stderr.

Exit code 0 on success, 2 on what the reader can mend, 1 on what they cannot, 130 after Ctrl-C. Nothing heavy is
imported before a command runs, so that `--help` answers at once.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

import makar
from makar.core.errors import MakarError, UserError

USAGE_ERROR = cast(type[Exception], typer.BadParameter.__bases__[0])  # typer exports it under no name of its own

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change a field; may be repeated.")]
Adapters = Annotated[
    list[str] | None, typer.Option("--adapter", metavar="[NAME=]DIR", help="Attach this adapter; repeatable.")
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a known name: smollm2.")]


def version(wanted: bool) -> bool:
    """Print the version and stop, where it is wanted."""
    if wanted:
        print(makar.__version__)
        raise typer.Exit
    return wanted


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Show it.")] = False,  # noqa: ARG001, FBT002
) -> None:
    """Train, align, check, run and serve generative models of your own.

    Start with `makar demo`.
    """


@app.command()
def demo(
    what: Annotated[str, typer.Argument(metavar="[WHAT]", help="poems, vae, diffusion, gan or multimodal.")] = "poems",
    quiet: Quiet = False,
) -> None:
    """Go from real data to a model that writes, or draws, in minutes."""
    from makar.app.demos import demo

    demo(what, quiet=quiet)


@app.command()
def collect(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Files, folders, pypi:NAME==VERSION, npm:NAME@VERSION, deb:NAME, make:NAME."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The dataset folder to write.")],
    ask: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="Make questions of prose: topic, summary, docstring ...")
    ] = None,
    test: Annotated[str | None, typer.Option(help="The test set: groups by hash, or the last of the corpus.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share that is held out for the last judgement.")] = None,
    valid_fraction: Annotated[float | None, typer.Option(help="Share that training watches and does not see.")] = None,
    limit_bytes: Annotated[int | None, typer.Option(help="Take so much of what is not test.")] = None,
    min_chars: Annotated[int | None, typer.Option(help="Drop shorter documents.")] = None,
    near: Annotated[float | None, typer.Option(help="Similarity from which documents repeat each other.")] = None,
    size: Annotated[int | None, typer.Option(help="Pictures: side in pixels of the square to store.")] = None,
    fit: Annotated[str | None, typer.Option(help="Pictures: crop to the square, or pad to it.")] = None,
    background: Annotated[str | None, typer.Option(help="Pictures: colour behind them, as white or #102030.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Extract, clean, deduplicate and split text or pictures; count all of it."""
    from makar.app import api, present, terminal

    given = {"ask": ask, "test": test, "test_fraction": test_fraction, "valid_fraction": valid_fraction}
    given |= {"limit_bytes": limit_bytes, "min_chars": min_chars, "near": near}
    pictures = {"size": size, "fit": fit, "background": background}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if asked := {name: value for name, value in pictures.items() if value is not None}:
        options["pictures"] = asked
    manifest = api.collect(sources, out, options, say=terminal.say(quiet=quiet))
    terminal.emit(manifest, present.manifest_text, as_json=json)


@app.command()
def plan(recipe: Recipe, sets: Sets = None, json: Json = False) -> None:
    """Forecast memory, disk and time before anything runs."""
    from makar.app import api, present, terminal

    terminal.emit(api.plan(recipe, sets or ()), present.plans_text, as_json=json)


@app.command()
def train(
    recipe: Recipe,
    sets: Sets = None,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="The run folder; runs/RECIPE if not said.")] = None,
    stage: Annotated[str | None, typer.Option(metavar="NAME", help="This stage of the recipe alone.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Start although the plan says that it does not fit.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Start a run or resume it: the same command does both."""
    from makar.app import api, present, terminal

    with terminal.training(quiet=quiet) as (say, progress):
        done = api.train(recipe, sets or (), run=run, stage=stage, force=force, say=say, progress=progress)
    terminal.emit(api.show(done), present.trained_text, as_json=json)


@app.command()
def generate(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A run, a model folder, or a known name: smollm2.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What it continues, or answers; - is stdin.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Answers to each prompt.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same answers.")] = 0,
    adapters: Adapters = None,
    suffix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Fill the gap between PROMPT and this; see data.fim_rate.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write there and not to stdout; pictures: FILE.png or a folder.")
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A picture to begin from, or asked about; a second to go to."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(metavar="FILE", help="White where it is made anew.")] = None,
    control: Annotated[Path | None, typer.Option(metavar="FILE", help="Edges to follow, white on black.")] = None,
    enlarge: Annotated[Path | None, typer.Option(metavar="FILE", help="A small picture to make large.")] = None,
    outpaint: Annotated[
        str | None, typer.Option(metavar="L,T,R,B", help="With --image: paint so many pixels beyond its sides.")
    ] = None,
    edit: Annotated[
        list[str] | None, typer.Option(metavar="+NAME", help="Go along a direction: +NAME, -NAME=1.5; repeatable.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="One prompt a line; or a PNG to make again.")
    ] = None,
    strength: Annotated[float | None, typer.Option(help="With --image: 1 forgets it, near 0 keeps it.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the likeliest tokens up to this probability.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep this many of the likeliest tokens.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Drop tokens below this share of the likeliest's odds.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: avoid tokens seen so far.")] = None,
    logprobs: Annotated[int | None, typer.Option(help="With --json: log-probabilities, and so many rivals'.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop after this many tokens.")] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Stop before this text; repeatable.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Continue it, whatever the model is.")] = False,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="A=B", help="guidance_scale=2; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Write or draw with a model: the same seed gives the same text, the same picture."""
    from makar.app import api, pictures, present, terminal
    from makar.core.errors import InputError
    from makar.interop.known import find_model

    if prompts is not None and prompts.suffix.lower() == ".png":
        from makar.app.again import again

        terminal.emit(again(prompts, model, out, terminal.say(quiet=False)), present.again_text, as_json=json)
        return
    if model is None:
        raise InputError("no model named", where="makar generate", fix="name a run, a model folder or a known name")
    given = {
        "strength": strength,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "logprobs": logprobs,
        "max_tokens": max_tokens,
        "stop": stop or None,
    }
    settings: dict[str, Any] = terminal.settings(sets or ())
    settings |= {name: value for name, value in given.items() if value is not None}
    asked = terminal.prompts(prompt, prompts)
    attached = terminal.adapters(adapters or ())
    opened = api.load(model, attached, say=terminal.say(quiet=False))
    if opened.family.name == "clip":
        raise InputError("this model finds pictures and makes none", where=model, fix="look for them with makar search")
    if suffix is not None and (image or api.makes_pictures(opened)):
        raise InputError("a suffix belongs to a text with a gap", where="--suffix", value=suffix, fix="leave it out")
    names = list(attached) if len(attached) > 1 else []
    if api.makes_pictures(opened):
        if names:
            fix = "name one at a time"
            raise InputError("several adapters answer only in words", where="--adapter", value=names, fix=fix)
        files = pictures.draw(
            opened, asked, count=count, seed=seed, out=out, images=image or (), mask=mask, control=control,
            enlarge=enlarge, outpaint=outpaint, edits=edit or (), settings=settings, name=model,
            folder=find_model(model),
        )  # fmt: skip
        terminal.emit([str(file) for file in files], "\n".join, as_json=json)
        return
    seen = image or () if api.sees_pictures(opened) else ()
    if (image and not seen) or any(each is not None for each in (mask, control, enlarge, outpaint)) or edit:
        where = "--edit" if edit else "--image"
        raise InputError("this model takes no pictures", where=where, fix="leave it out")
    terminal.check_out(out)
    asked = [each or "" for each in asked]
    before = asked if plain or not api.answers_questions(opened) else [""] * len(asked)
    gaps = asked if suffix is None else [{"prefix": text, "suffix": suffix} for text in asked]
    wanted: dict[str, Any] = {
        "images": seen,
        "count": count,
        "seed": seed,
        "plain": plain,
        "adapter": names or None,
        **settings,
    }
    after, shown = suffix or "", [f"[{name}] {text}" for text in before for name in names] or before
    if json or out is not None:
        answers, told = api.generate(opened, gaps, **wanted), asked if json else shown
        terminal.deliver(answers, told, count, seed, out, after=after, adapters=names, as_json=json)
    else:
        terminal.write(api.stream(opened, gaps, **wanted), shown, count, after)


@app.command()
def chat(
    model: ModelName,
    image: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A picture to talk about; repeatable.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="What the model is told first.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same answers.")] = 0,
    adapters: Adapters = None,
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="A=B", help="temperature=0.2; repeatable.")] = None,
    quiet: Quiet = False,
) -> None:
    """Talk with a model; from a pipe, each line is answered."""
    from makar.app import api, terminal

    settings = terminal.settings(sets or ())
    say = terminal.say(quiet=quiet)
    attached = terminal.adapters(adapters or ())
    api.talk(model, adapters=attached, system=system, images=image or (), seed=seed, say=say, **settings)


@app.command()
def evaluate(
    model: ModelName,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="A dataset; the run's own if not said.")] = None,
    suite: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this; repeatable.")] = None,
    tasks: Annotated[Path | None, typer.Option(metavar="FILE", help="Ask these: JSON lines, see the docs.")] = None,
    documents: Annotated[int | None, typer.Option(help="Score so many documents, rows, questions, pictures.")] = None,
    samples: Annotated[int | None, typer.Option(help="Let the model make so many, to compare with real ones.")] = None,
    features: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare pictures by a TorchScript file, or efficientnet-lite.")
    ] = None,
    importance: Annotated[int | None, typer.Option(help="Samples of a VAE's bound, for each picture.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="On pairs: what gained over this model; on captions: the CLIP that judges."),
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="A=B", help="How it generates: steps=1; repeatable.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model on what it has never seen: text, prompts, pairs or pictures."""
    from makar.app import api, present, terminal

    given = {"suites": suite or None, "documents": documents, "tasks": tasks, "reference": reference}
    given |= {"samples": samples, "features": features, "importance": importance}
    given |= {"generation": terminal.settings(sets) if sets else None}
    options = {name: value for name, value in given.items() if value is not None}
    report = api.evaluate(model, data, say=terminal.say(quiet=quiet), **options)
    terminal.emit(report, present.report_text, as_json=json)


@app.command()
def score(
    model: ModelName,
    files: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="PNG or JPEG files.")],
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="A dataset; the run's own if not said.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say how unusual pictures are for a model, beside pictures that it has never seen."""
    from makar.app import api, present, terminal

    found = api.score(model, files, data, say=terminal.say(quiet=quiet))
    terminal.emit(found, present.scores_text, as_json=json)


@app.command()
def search(
    model: ModelName,
    data: Annotated[Path, typer.Argument(metavar="DATASET", help="A folder of pictures, or a file from --out.")],
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What is looked for.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="Look for what is like this picture.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures at most.")] = 10,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all embeddings as FILE.parquet.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find pictures of a dataset by a text or by a picture, with a CLIP."""
    from makar.app import api, present, terminal

    found = api.search(model, data, text, image=image, count=count, out=out, say=terminal.say(quiet=quiet))
    if found or json:
        terminal.emit(found, present.found_text, as_json=json)


@app.command()
def augment(
    model: ModelName,
    data: Annotated[Path, typer.Argument(metavar="DATASET", help="A folder that `makar collect` wrote.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The dataset folder to write.")],
    factor: Annotated[int, typer.Option(min=2, help="So many times the training pictures.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same pictures.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make more pictures of the same classes, into a new dataset that says which were made."""
    from makar.app import api, present, terminal

    manifest = api.augment(model, data, out, factor=factor, seed=seed, say=terminal.say(quiet=quiet))
    terminal.emit(manifest, present.manifest_text, as_json=json)


@app.command()
def feedback(
    model: ModelName,
    prompts: Annotated[Path, typer.Argument(metavar="PROMPTS", help="A file with one prompt a line.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The choices: made, or added to.")] = Path("choices.jsonl"),
    who: Annotated[str | None, typer.Option(metavar="NAME", help="Who chooses; your user name if not said.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first answer.")] = 0,
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="A=B", help="temperature=1; repeatable.")] = None,
    json: Json = False,
) -> None:
    """Choose between two answers: what a model is aligned by."""
    from makar.app import api, present, terminal

    asked = [each or "" for each in terminal.prompts(None, prompts)]
    settings = terminal.settings(sets or ())
    done = api.feedback(model, asked, store=out, who=who, seed=seed, say=terminal.say(quiet=False), **settings)
    terminal.emit(done, present.feedback_text, as_json=json)


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(metavar="PATH", help="GGUF, LoRA, a folder of transformers or PEFT, a name.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model folder to make.")],
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="What an adapter belongs to.")] = None,
    quiet: Quiet = False,
) -> None:
    """Make a model folder from what another tool made."""
    from makar.app import api, terminal

    print(api.import_model(name, out, base=base, say=terminal.say(quiet=quiet)))


@app.command()
def export(
    model: ModelName,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file (GGUF) or folder to make.")],
    to: Annotated[
        Literal["transformers", "gguf", "peft", "diffusers", "kohya", "onnx"],
        typer.Option(metavar="FORMAT", help="What takes it then."),
    ],
    precision: Annotated[
        Literal["f32", "f16", "q8_0", "q4_0"] | None, typer.Option(help="Of a GGUF file; f16 if not said.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a model as other tools take it."""
    from makar.app import api, terminal

    print(api.export_model(model, to, out, precision=precision, say=terminal.say(quiet=quiet)))


@app.command()
def runs(
    what: Annotated[Literal["list", "show"], typer.Argument(help="A line for each run, or all of one.")] = "list",
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Which one: its name or folder.")] = None,
    json: Json = False,
) -> None:
    """List the runs under ./runs, or show one."""
    from makar.app import api, present, terminal

    if what == "list":
        terminal.emit(api.runs(), present.runs_text, as_json=json)
    elif run is None:
        raise UserError("no run named", where="makar runs show", fix="makar runs lists them")
    else:
        terminal.emit(api.show(run), present.run_text, as_json=json)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, model, run or dataset.")],
    json: Json = False,
) -> None:
    """Say what a path is, where it comes from, if it is intact."""
    from makar.app import api, present, terminal

    found = api.inspect(path)
    terminal.emit(found, present.inspection_text, as_json=json)
    if not found.intact:
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code; every fault is one line on stderr."""
    try:
        code = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has left: nothing to say, and nobody to say it to
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def run(arguments: Sequence[str] | None) -> int:
    """Run one command and say its exit code."""
    try:
        code: Any = app(args=arguments, prog_name="makar", standalone_mode=False)
    except USAGE_ERROR as fault:
        return complain(fault, misuse(cast(Any, fault)), 2)
    except UserError as fault:
        return complain(fault, str(fault), fault.exit_code)
    except MakarError as fault:
        return complain(fault, str(fault), fault.exit_code)
    except BrokenPipeError:
        raise
    except Exception as fault:
        line = " ".join(f"{type(fault).__name__}: {fault}".split())
        return complain(fault, f"{line} (a fault of makar's: MAKAR_DEBUG=1 shows the traceback)", 1)
    if code == 130:  # noqa: PLR2004
        print("makar: stopped", file=sys.stderr)
    return code if isinstance(code, int) else 0


def misuse(fault: Any) -> str:
    """What was wrong with the words of a command, and where to look."""
    path = fault.ctx.command_path if fault.ctx else "makar"
    line = " ".join(fault.format_message().split()).rstrip(".")
    return f"{line[:1].lower()}{line[1:]}; see {path} --help"


def complain(fault: BaseException, line: str, code: int) -> int:
    """One line on stderr, after the traceback if MAKAR_DEBUG asks for it."""
    if os.environ.get("MAKAR_DEBUG"):
        traceback.print_exception(fault)
    print(f"makar: {line}", file=sys.stderr)
    return code
