"""`makar chat`: a conversation with a model, in a terminal or through a pipe.

What a user says is a line, lines that each end with a backslash but the last, or lines between two that hold nothing
but three quotation marks. What begins with a slash is a command. Answers go to stdout as they are made; everything else
to stderr. In a pipe every fault ends the conversation; in a terminal it is told, and one goes on.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from makar.app.terminal import show
from makar.codecs.bpe import Bpe
from makar.codecs.chat import prompt_ids
from makar.codecs.template import template_of
from makar.core.config import nearest, parse
from makar.core.errors import InputError, ModelError, UserError
from makar.core.files import write_atomic
from makar.core.messages import Message, fault_in, pictures_in
from makar.core.nouns import Model, Request
from makar.core.say import Say
from makar.data.chats import Unfit, as_line, messages_of
from makar.data.talks import picture_of
from makar.engine.run import Engine
from makar.nets.lora import BASE, active, adapters_of, check_name
from makar.recipes.load import toml_value

BLOCK = '"""'
"""A line of nothing else begins and ends what is said in several lines."""

ROOM = 4
"""An answer has at least this part of the context, where a conversation grows long: its oldest turns are left out."""


@dataclass(frozen=True)
class Talk:
    """A conversation as it stands.

    Args:
        model: Who answers.
        messages: All that was said.
        shown: Files of pictures that go with what is said next.
        seed: Of the next answer.
        settings: What was set of the family's settings; the model's own defaults for the others.
        adapter: Which of the model's adapters answers; the one that is on if None.
        strict: A fault ends it, and so does Ctrl-C; else a fault is said, and Ctrl-C ends an answer where it stands.
    """

    model: Model[Any]
    messages: tuple[Message, ...] = ()
    shown: tuple[str, ...] = ()
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    adapter: str | None = None
    strict: bool = False


def begin(
    model: Model[Any],
    *,
    system: str | None,
    images: Sequence[str | Path] = (),
    seed: int,
    settings: Mapping[str, Any],
    strict: bool,
    say: Say,
) -> Talk:
    """A conversation in which nothing was said yet.

    Raises:
        InputError: A picture cannot be read, or the model sees none.
        ModelError: The model cannot hold a conversation.
        RecipeError: A setting that the model does not have.
    """
    codec = codec_of(model)
    _ = template_of(codec).template  # a template that is refused is refused before anything is said
    if codec.chat_template is None:
        say("this model has no chat template of its own: it was not trained on conversations")
    first: tuple[Message, ...] = () if system is None else ({"role": "system", "content": system},)
    talk = Talk(model, first, seed=seed, settings=dict(settings), strict=strict)
    chosen(talk)
    for each in images:
        talk = seen(talk, each)
    return talk


def converse(talk: Talk, entries: Iterable[str], *, show: Say, say: Say) -> Talk:
    """Answer what a user says, entry by entry, until there is no more or one is /quit.

    Args:
        talk: Where it begins.
        entries: What is said, and commands.
        show: Takes the pieces of answers.
        say: Takes lines about the conversation.

    Raises:
        UserError: If the conversation is strict: a command or a setting that does not fit.
    """
    for entry in entries:
        word, _, rest = entry.partition(" ")
        if word in ("/quit", "/exit"):
            break
        try:
            talk = command(talk, word, rest.strip(), show, say) if word.startswith("/") else ask(talk, entry, show, say)
        except UserError as fault:
            if talk.strict:
                raise
            say(f"makar: {fault}")
            if talk.shown and not word.startswith("/"):
                say("[the pictures shown for it are put away]")
                talk = replace(talk, shown=())
    return talk


def ask(talk: Talk, text: str, show: Say, say: Say) -> Talk:
    """Say something, and have it answered; pictures that were shown before go with it."""
    parts = [{"type": "image", "path": each} for each in talk.shown]
    content: Any = [*parts, {"type": "text", "text": text}] if parts else text
    said = replace(talk, messages=(*talk.messages, {"role": "user", "content": content}), shown=())
    return answer(said, show, say)


def answer(talk: Talk, show: Say, say: Say) -> Talk:
    """The conversation with the model's answer to its last message."""
    messages = fitting(talk, say)
    pieces: list[str] = []
    tokens, start = 0, time.perf_counter()
    stopped = False
    try:
        for chunk in Engine(talk.model).stream([Request(messages, talk.seed, chosen(talk), talk.adapter)]):
            pieces.append(chunk.data or "")
            tokens += len(chunk.info.get("ids", ()))
            show(pieces[-1])
    except KeyboardInterrupt:
        if talk.strict:
            raise
        stopped = True
    seconds = time.perf_counter() - start
    show("\n")
    say(f"[{tokens} tokens, {tokens / seconds:.1f} a second, seed {talk.seed}{', stopped' if stopped else ''}]")
    text = "".join(pieces)
    if not text.strip():
        say("nothing was answered; what was said last is forgotten")
        return replace(talk, messages=talk.messages[:-1])
    return replace(talk, messages=(*talk.messages, {"role": "assistant", "content": text}))


def fitting(talk: Talk, say: Say) -> list[Message]:
    """The messages that the model's context has room for: the system message, and the last turns."""
    context = getattr(talk.model.config, "max_position_embeddings", sys.maxsize)
    most = context - min(chosen(talk).max_tokens, context // ROOM)
    system, turns = split(talk.messages)
    left_out = 0
    while len(ids_of(talk.model, [*system, *turns[left_out:]])) > most:
        later = [k for k in range(left_out + 1, len(turns)) if turns[k]["role"] == "user"]
        if not later:
            break
        left_out = later[0]
    if left_out:
        say(f"[the conversation is longer than the model's context: its first {left_out} messages are left out]")
    return [*system, *turns[left_out:]]


def ids_of(model: Model[Any], messages: Sequence[Message]) -> list[int]:
    """The tokens of a conversation, all those of its pictures among them."""
    if not pictures_in(messages):
        codec = codec_of(model)
        return prompt_ids(codec, template_of(codec), messages)
    from makar.families.llava.prompt import conversation_ids

    return conversation_ids(model, messages)


def split(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The system message, if there is one, and the others."""
    first = 1 if messages and messages[0]["role"] == "system" else 0
    return list(messages[:first]), list(messages[first:])


def chosen(talk: Talk) -> Any:
    """The settings of the next answer."""
    return parse(talk.model.family.settings, {**talk.model.generation, **talk.settings}, "settings")


def codec_of(model: Model[Any]) -> Bpe:
    """The tokenizer of a model.

    Raises:
        ModelError: It has none.
    """
    codec = model.parts.get("codec")
    if not isinstance(codec, Bpe):
        raise ModelError("the model has no tokenizer, so it cannot hold a conversation", fix="name a language model")
    return codec


# Commands -------------------------------------------------------------------------------------------------


def command(talk: Talk, word: str, rest: str, show: Say, say: Say) -> Talk:
    """Carry out a command.

    Raises:
        InputError: There is no such command, or what follows it does not fit.
    """
    if word not in COMMANDS:
        raise InputError("no such command", value=word, fix=nearest(word, [*COMMANDS, "/quit"]))
    return COMMANDS[word][0](talk, rest, show, say)


def save(talk: Talk, rest: str, show: Say, say: Say) -> Talk:  # noqa: ARG001
    """Write the conversation as one line of JSON, which `makar collect` reads too."""
    path = file_of(rest, "/save")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError("cannot be written", where=path, fix="name a file in a folder that is there")
    write_atomic(path, as_line({"messages": list(talk.messages)}) + "\n")
    say(f"[saved in {path}]")
    return talk


def load(talk: Talk, rest: str, show: Say, say: Say) -> Talk:  # noqa: ARG001
    """Go on with a conversation that was saved."""
    path = file_of(rest, "/load")
    try:
        messages = messages_of(json.loads(path.read_text(encoding="utf-8"))["messages"])
    except OSError as fault:
        raise InputError(f"cannot be read: {fault.strerror}", where=path, fix="name a file that /save wrote") from None
    except (ValueError, KeyError, TypeError):
        raise InputError("is not a conversation", where=path, fix="name a file that /save wrote") from None
    except Unfit as fault:
        raise InputError(fault.reason, where=path, fix=fault.fix) from None
    wrong = fault_in(messages)
    if wrong is not None:
        raise InputError(wrong[0], where=path, fix=wrong[1])
    if pictures_in(messages) and talk.model.family.name != "llava":
        fix = "open it with a model that sees, such as a run of scenes-vlm"
        raise InputError("this model takes no pictures, and the conversation has some", where=path, fix=fix)
    say(f"[{len(messages)} messages from {path}]")
    return replace(talk, messages=tuple(messages))


def image(talk: Talk, rest: str, show: Say, say: Say) -> Talk:  # noqa: ARG001
    """Show a picture with what is said next."""
    talk = seen(talk, file_of(rest, "/image"))
    say(f"[{talk.shown[-1]} goes with what you say next]")
    return talk


def seen(talk: Talk, file: str | Path) -> Talk:
    """The conversation with one more picture for what is said next.

    Raises:
        InputError: It cannot be read, or the model sees none.
    """
    if talk.model.family.name != "llava":
        fix = "name a model that sees, such as a run of scenes-vlm"
        raise InputError("this model takes no pictures", where="--image", value=str(file), fix=fix)
    place = Path(file).expanduser().absolute()
    picture_of({"path": place}, "--image")
    return replace(talk, shown=(*talk.shown, str(place)))


def retry(talk: Talk, rest: str, show: Say, say: Say) -> Talk:  # noqa: ARG001
    """Have the last message answered once more, with the next seed."""
    if not talk.messages or talk.messages[-1]["role"] != "assistant":
        raise InputError("there is no answer to try again", where="/retry", fix="say something first")
    return answer(replace(talk, messages=talk.messages[:-1], seed=talk.seed + 1), show, say)


def seed(talk: Talk, rest: str, show: Say, say: Say) -> Talk:  # noqa: ARG001
    """Set the seed of the answers that follow."""
    if not rest.isdecimal():
        raise InputError("not a seed", where="/seed", value=rest, fix="give a whole number: /seed 7")
    return replace(talk, seed=int(rest))


def put(talk: Talk, rest: str, show: Say, say: Say) -> Talk:  # noqa: ARG001
    """Change a setting of the answers that follow; without a name, show all."""
    name, _, value = rest.partition(" ")
    if not name:
        for key, found in chosen(talk).model_dump().items():
            say(f"{key} = {found}")
        return talk
    if not value.strip():
        raise InputError("no value", where=f"/set {name}", fix=f"give one: /set {name} VALUE")
    changed = replace(talk, settings={**talk.settings, name: toml_value(value.strip())})
    chosen(changed)
    return changed


def switch(talk: Talk, rest: str, show: Say, say: Say) -> Talk:  # noqa: ARG001
    """Let another adapter answer; without a name, say which there are."""
    net = talk.model.net
    if not rest:
        now = talk.adapter or active(net) or BASE
        for name in (BASE, *adapters_of(net)):
            say(f"{name} (answers)" if name == now else name)
        return talk
    check_name(net, rest)
    say(f"[{rest} answers from here on]")
    return replace(talk, adapter=rest)


def explain(talk: Talk, rest: str, show: Say, say: Say) -> Talk:  # noqa: ARG001
    """Say which commands there are."""
    for word, (_, arguments, what) in COMMANDS.items():
        say(f"{f'{word} {arguments}'.strip():18}{what}")
    say(f"{'/quit':18}leave; so does Ctrl-D")
    say(f"What is said in several lines stands between two lines of {BLOCK}, or its lines end with a backslash.")
    return talk


COMMANDS: Mapping[str, tuple[Callable[[Talk, str, Say, Say], Talk], str, str]] = {
    "/help": (explain, "", "say this"),
    "/retry": (retry, "", "answer once more, with the next seed"),
    "/seed": (seed, "NUMBER", "set the seed of the answers that follow"),
    "/set": (put, "[NAME VALUE]", "change a setting such as temperature, or show all"),
    "/adapter": (switch, "[NAME]", "let this adapter answer, or base; or say which there are"),
    "/image": (image, "FILE", "show a picture with what is said next"),
    "/save": (save, "FILE", "keep the conversation"),
    "/load": (load, "FILE", "go on with a kept one"),
}


def file_of(rest: str, word: str) -> Path:
    """The file that a command names."""
    if not rest:
        raise InputError("no file named", where=word, fix=f"name one: {word} talk.json")
    return Path(rest).expanduser()


# What is said ---------------------------------------------------------------------------------------------


def entries(lines: Iterable[str]) -> Iterator[str]:
    """What a user says, from the lines typed; blank ones between are nothing.

    Args:
        lines: Without their ends.
    """
    source = iter(lines)
    for first in source:
        said = [first]
        if first.strip() == BLOCK:
            said = []
            for each in source:
                if each.strip() == BLOCK:
                    break
                said.append(each)
        else:
            while said[-1].endswith("\\"):
                said[-1] = said[-1].removesuffix("\\")
                said.append(next(source, ""))
        text = "\n".join(said)
        if text.strip():
            yield text


def typed(prompt: str = "> ") -> Iterator[str]:
    """Lines from the terminal, with a prompt and the editing that readline gives; Ctrl-C clears one, Ctrl-D ends."""
    with suppress(ImportError):
        import readline  # noqa: F401  # pyright: ignore[reportUnusedImport]: being imported is what it does
    while True:
        try:
            yield input(prompt)
        except KeyboardInterrupt:
            print(file=sys.stderr)
        except EOFError:
            print(file=sys.stderr)
            return


def talk(
    model: Model[Any],
    *,
    system: str | None,
    images: Sequence[str | Path] = (),
    seed: int,
    settings: Mapping[str, Any],
    say: Say,
) -> Talk:
    """The whole of `makar chat`, from stdin to stdout.

    Args:
        model: Who answers.
        system: What the model is told first.
        images: Files of pictures that go with what is said first.
        seed: Of the answers.
        settings: Of the family, such as temperature.
        say: For lines about the conversation.
    """
    terminal = sys.stdin.isatty()
    begun = begin(model, system=system, images=images, seed=seed, settings=settings, strict=not terminal, say=say)
    if terminal:
        say("/help says what can be done, Ctrl-D leaves")
    lines = typed() if terminal else (line.removesuffix("\n") for line in sys.stdin)
    return converse(begun, entries(lines), show=show, say=say)
