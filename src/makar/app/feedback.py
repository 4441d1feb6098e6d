"""`makar feedback`: two answers to each prompt, a person's choice between them, kept in a store that only grows."""

import getpass
import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.align.choices import Choice, add_choice, chosen_already, now, read_choices, snapshot
from makar.core.errors import InputError
from makar.core.files import sha256

if TYPE_CHECKING:
    from makar.core.nouns import Model

TRIES = 4
"""Further seeds that are tried where two answers are equal."""

Ask = Callable[[str], str]
Say = Callable[[str], None]


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
    if "codec" not in opened.parts:
        raise InputError("what this model makes cannot be shown as text", where=folder, fix="name a language model")
    choices = read_choices(store) if store.exists() else []
    done, added, skipped = chosen_already(choices, person, weights), 0, 0
    for number, prompt in enumerate(prompts):
        if prompt in done:
            continue
        pair = two_answers(opened, prompt, seed + number * (TRIES + 2), settings)
        if pair is None:
            say(f"\n{prompt}\nthe model has one answer only; left out")
            skipped += 1
            continue
        say(f"\n{prompt}\n\n[1]\n{pair[0][0]}\n\n[2]\n{pair[1][0]}\n")
        reply = asked(ask)
        if reply == "q":
            break
        if reply == "s":
            skipped += 1
            continue
        good, bad = (pair[0], pair[1]) if reply == "1" else (pair[1], pair[0])
        choice = Choice(
            prompt=prompt, chosen=good[0], rejected=bad[0], chosen_seed=good[1], rejected_seed=bad[1],
            shown_first="chosen" if reply == "1" else "rejected", who=person, when=now(), model=str(model),
            weights=weights,
        )  # fmt: skip
        add_choice(store, choice)
        added += 1
    total = len(choices) + added
    return Session(store, snapshot(store, store.parent) if total else None, added, skipped, total)


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
    model: "Model[Any]", prompt: str, seed: int, settings: dict[str, Any]
) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """Two different answers with their seeds, or None where the model finds no second one."""
    from makar.core.config import parse
    from makar.core.nouns import Request
    from makar.engine.run import Engine

    chosen = parse(model.family.settings, {**model.generation, **settings}, "generation settings")
    codec = model.parts.get("codec")
    spoken = [{"role": "user", "content": prompt}] if getattr(codec, "chat_template", None) else prompt
    seeds = range(seed, seed + 2)
    for more in range(seed + 2, seed + 3 + TRIES):
        answers = Engine(model).generate([Request(spoken, each, chosen) for each in seeds])
        first, second = (str(answer.data).strip() for answer in answers)
        if first != second:
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
