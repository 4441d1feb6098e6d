"""`makar feedback`: two answers to each prompt, a person's choice between them, kept in a store that only grows.

An answer is a text or a picture: how either is asked for, shown and kept is a `Medium`.
"""

import getpass
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.align.choices import Choice, add_choice, chosen_already, now, read_choices, snapshot
from makar.core.errors import InputError
from makar.core.files import sha256
from makar.core.say import Say

if TYPE_CHECKING:
    from makar.core.nouns import Model

TRIES = 4
"""Further seeds that are tried where two answers are equal."""

Ask = Callable[[str], str]


def on_terminal(question: str) -> str:
    """Ask on stderr and hear on stdin: stdout is for the result.

    Raises:
        EOFError: There is nobody left to answer.
    """
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


@dataclass(frozen=True)
class Medium:
    """What answers are.

    Args:
        asked: From a prompt to what the model is asked.
        kept: From what the model gives to what the store holds; equal answers are kept equal.
        shown: What a person is told of both, the first as [1], and of what made them.
    """

    asked: Callable[[str], Any]
    kept: Callable[[Any], str]
    shown: Callable[[Any, Any, Mapping[str, Any]], str]


@dataclass(frozen=True)
class Session:
    """What came of asking a person.

    Args:
        store: Where the choices are.
        snapshot: A copy of it by its hash, for a recipe; None where nothing was ever chosen.
        added: Choices made now.
        skipped: Prompts left out: by the person, or because the model has one answer only.
        total: Choices in the store.
    """

    store: Path
    snapshot: Path | None
    added: int
    skipped: int
    total: int


def feedback(
    model: str | Path, prompts: Sequence[str], *, store: Path = Path("choices.jsonl"), who: str | None = None,
    seed: int = 0, ask: Ask = on_terminal, say: Say = print, **settings: Any,
) -> Session:  # fmt: skip
    """Show two answers to each prompt, ask which is better, and keep the choice with who, when and both seeds.

    Prompts that the same person has chosen for with the same weights are passed over: the same call goes on.

    Args:
        model: A run folder, a model folder, or the name of a run under ./runs.
        prompts: What is asked of the model.
        store: A file of choices, made or added to.
        who: Who chooses; the user's name if not said.
        seed: Of the first answer to the first prompt.
        ask: Takes a question, gives a line: "1", "2", "s" to skip, "q" to stop; EOFError stops too.
        say: Takes lines for the person.
        settings: Of generation, such as temperature=1.0.

    Raises:
        UserError: There is no such model, or the store is damaged or cannot be written.
    """
    from makar.engine.load import open_model
    from makar.interop.known import find_model

    folder, person = find_model(model, say), who or getpass.getuser()
    opened, weights = open_model(folder), weights_of(folder)
    medium = medium_of(opened, store.with_suffix(".png"), str(model), folder)
    choices = read_choices(store) if store.exists() else []
    done, added, skipped = chosen_already(choices, person, weights), 0, 0
    for number, prompt in enumerate(prompts):
        if prompt in done:
            continue
        pair = two_answers(opened, medium, prompt, seed + number * (TRIES + 2), settings)
        if pair is None:
            say(f"\n{prompt}\nthe model has one answer only; left out")
            skipped += 1
            continue
        made = {"prompt": prompt, "seeds": [each for _, each in pair], "settings": {**opened.generation, **settings}}
        say(f"\n{prompt}\n\n{medium.shown(pair[0][0], pair[1][0], made)}\n")
        reply = asked(ask)
        if reply == "q":
            break
        if reply == "s":
            skipped += 1
            continue
        good, bad = (pair[0], pair[1]) if reply == "1" else (pair[1], pair[0])
        choice = Choice(
            prompt=prompt, chosen=medium.kept(good[0]), rejected=medium.kept(bad[0]), chosen_seed=good[1],
            rejected_seed=bad[1], shown_first="chosen" if reply == "1" else "rejected", who=person, when=now(),
            model=str(model), weights=weights,
        )  # fmt: skip
        add_choice(store, choice)
        added += 1
    total = len(choices) + added
    return Session(store, snapshot(store, store.parent) if total else None, added, skipped, total)


def medium_of(model: "Model[Any]", file: Path, name: str, folder: Path) -> Medium:
    """What a model's answers are.

    Args:
        model: Who answers.
        file: Where pictures are shown.
        name: What the person called the model.
        folder: Where it lies.

    Raises:
        InputError: The model answers nothing that can be shown.
    """
    from functools import partial

    from makar.app import feedback_pictures as pictures
    from makar.codecs.bpe import Bpe

    if "images" in model.family.inputs and "tokens" not in model.family.inputs:
        from makar.recipes.provenance import maker

        shown = partial(pictures.shown, place=file, maker=maker(model, name, folder))
        return Medium(partial(pictures.prompt_of, model), pictures.as_answer, shown)
    codec = model.parts.get("codec")
    if not isinstance(codec, Bpe):
        fix = "name a model of language or of pictures"
        raise InputError("what this model makes cannot be shown", where=model.family.name, fix=fix)
    chat = bool(getattr(codec, "chat_template", None))
    return Medium(
        asked=lambda prompt: [{"role": "user", "content": prompt}] if chat else prompt,
        kept=lambda text: str(text).strip(),
        shown=lambda first, second, made: f"[1]\n{str(first).strip()}\n\n[2]\n{str(second).strip()}",  # noqa: ARG005
    )


def asked(ask: Ask) -> str:
    """A person's answer: "1", "2", "s" or "q"."""
    while True:
        try:
            reply = ask("which is better? 1, 2, s(kip), q(uit): ").strip().lower()[:1]
        except EOFError:
            return "q"
        if reply in ("1", "2", "s", "q"):
            return reply


def two_answers(
    model: "Model[Any]", medium: Medium, prompt: str, seed: int, settings: dict[str, Any]
) -> tuple[tuple[Any, int], tuple[Any, int]] | None:
    """Two different answers with their seeds, or None where the model finds no second one."""
    from makar.core.config import parse
    from makar.core.nouns import Request
    from makar.engine.run import Engine

    chosen = parse(model.family.settings, {**model.generation, **settings}, "generation settings")
    spoken = medium.asked(prompt)
    seeds = range(seed, seed + 2)
    for more in range(seed + 2, seed + 3 + TRIES):
        answers = Engine(model).generate([Request(spoken, each, chosen) for each in seeds])
        first, second = (answer.data for answer in answers)
        if medium.kept(first) != medium.kept(second):
            return (first, seeds[0]), (second, seeds[-1])
        seeds = range(seed, more + 1, more - seed)
    return None


def weights_of(folder: Path) -> str:
    """One SHA-256 for all weights of a model folder.

    Raises:
        InputError: There are none.
    """
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise InputError("the model has no weights", where=folder, fix="name a finished run or a model folder")
    if len(files) == 1:
        return sha256(files[0])
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()
