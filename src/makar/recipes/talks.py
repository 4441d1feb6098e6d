"""Conversations about pictures as rows: those of a dataset, or about scenes composed of emoji, without end."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from makar.codecs.bpe import Bpe, train_bpe
from makar.codecs.chat import end_of_turn
from makar.codecs.pixels import MODES
from makar.codecs.sight import parted, sighted, sighted_ids
from makar.codecs.template import template_of
from makar.core.config import parse
from makar.core.errors import InputError, RecipeError
from makar.core.files import write_atomic
from makar.core.messages import Message
from makar.core.nouns import Batch, Model, Objective, Request, Source, Verdict, Watch
from makar.core.say import Say
from makar.data.chats import words_in
from makar.data.order import Order
from makar.data.scene_questions import questions_of
from makar.data.scenes import Part, Scenes, scene_of, scene_seed
from makar.data.talks import Talk, Talks, picture_of, scene_talk
from makar.engine.run import Engine
from makar.evaluate.sights import GREEDY, answered, shares
from makar.families.llava.config import LlavaConfig
from makar.families.llava.folder import processor_of
from makar.recipes.alignment import Made
from makar.recipes.captioned import described, emoji_of
from makar.recipes.chats import CUT
from makar.recipes.manifest import hash_of
from makar.recipes.recipe import DataConfig, Recipe
from makar.recipes.run import Run, Workspace
from makar.recipes.text import counts, open_dataset, tokenizer
from makar.recipes.watches import validation
from makar.train.session import Periodic

TALKS = ("talks", "scene-talks")
"""Rows that are conversations about pictures."""

TOLD = 4_000
"""Scenes about which everything is asked for a tokenizer to be trained: every word is in that many times."""

TURN = 18
"""Tokens that the shortest questions about scenes take with their answers."""

LOOKED = 24
"""Scenes of each part that a watch asks about."""

WATCHED: tuple[Part, ...] = ("seen", "triple")
"""Which scenes those are."""


@dataclass(frozen=True)
class TalkRows:
    """Conversations about pictures, ready to train on.

    Args:
        codec: The tokenizer, whose template writes pictures.
        train: Rows to train on.
        valid: Rows to validate on.
        look: Asks a model as it learns.
        identity: Hashes by which a checkpoint knows its data.
        facts: For the manifest.
    """

    codec: Bpe
    train: Source
    valid: Source
    look: Callable[[Run], Watch]
    identity: Mapping[str, str]
    facts: Mapping[str, Any]


def talked(
    recipe: Recipe,
    model: Model[Any],
    codec: Bpe | None,
    objective: Objective[Any],
    *,
    run: Run,
    workspace: Workspace,
    every: int,
    say: Say,
) -> Made:
    """Rows of conversations about pictures for a family that sees, and its looks at itself.

    Args:
        recipe: One stage.
        model: Before its training.
        codec: Its tokenizer; None trains one on what is asked and answered.
        objective: The loss.
        run: Where its samples go.
        workspace: Where datasets lie.
        every: Steps between looks.
        say: For a line on each thing that takes time.

    Raises:
        UserError: The family sees nothing, or the source cannot be used.
    """
    config = model.config
    if not isinstance(config, LlavaConfig):
        what = f"the family {model.family.name!r} sees no pictures"
        raise RecipeError(what, where="data.rows", value=recipe.data.rows, fix="set model.family='llava'")
    if recipe.data.rows == "talks":
        rows = record_talks(recipe.data, config, codec, seed=recipe.seed, workspace=workspace, say=say)
    else:
        rows = scene_talks(recipe.data, config, codec, seed=recipe.seed, say=say)
    parts = {**model.parts, "codec": rows.codec}
    model = Model(model.family, config, model.net, parts, {**model.generation, **recipe.sample})
    judge = validation(objective, rows.valid, rows=recipe.watch.validate_rows, seed=recipe.seed, run=run)
    watches = [Periodic("validation", judge, every), Periodic("sights", rows.look(run), every)]
    return Made(model, rows.train, objective, watches, rows.identity, rows.facts)


def scene_talks(data: DataConfig, config: LlavaConfig, codec: Bpe | None, *, seed: int, say: Say) -> TalkRows:
    """Conversations about scenes without end, of combinations that are not held out.

    Args:
        data: The recipe's part.
        config: Of the net that learns them.
        codec: Its tokenizer; None trains one.
        seed: Of the scenes.
        say: For a line on each thing that takes time.

    Raises:
        UserError: The source is no emoji set, the tokenizer cannot write pictures, or a row has no room for one.
    """
    fetched, sprites = emoji_of(data)
    codec = speaking(codec or train_bpe(told(scene_seed(seed, "train")), config.vocab_size), config.image_token_index)
    roomy(data, config)
    turns = -(-(data.length - config.places) // TURN)

    def stream(name: str, part: Part = "seen") -> Scenes:
        return Scenes(sprites, config.vision.image_size, scene_seed(seed, name), part)

    def rows(name: str) -> Talks:
        return talks_of(partial(scene_talk, stream(name), turns), data, config, codec)

    say(f"conversations about scenes without end, composed of {len(sprites.art)} emoji")
    return TalkRows(
        codec=codec,
        train=rows("train"),
        valid=rows("valid"),
        look=partial(looking, {part: stream("looks", part) for part in WATCHED}),
        identity={"data": sprites.hash, "tokenizer": codec.hash, "template": hash_of(template_of(codec).source)},
        facts={
            "data": described(fetched, sprites),
            "tokenizer": {"hash": codec.hash, "vocab_size": codec.vocab_size},
            "pictures": {"size": config.vision.image_size, "tokens": config.places},
        },
    )


def record_talks(
    data: DataConfig, config: LlavaConfig, codec: Bpe | None, *, seed: int, workspace: Workspace, say: Say
) -> TalkRows:
    """The conversations of a dataset, with the pictures that they hold.

    Args:
        data: The recipe's part.
        config: Of the net that learns them.
        codec: Its tokenizer; None trains one on what they say.
        seed: Of the order of rows.
        workspace: Where datasets lie.
        say: For a line on each thing that takes time.

    Raises:
        UserError: The dataset cannot be used, or more of it than may be does not fit into rows.
    """
    dataset = open_dataset(data, workspace, say)
    codec = speaking(codec or tokenizer(dataset, config.vocab_size, say), config.image_token_index)
    roomy(data, config)
    texts = {split: list(dataset.texts(split)) for split in ("train", "valid")}

    def rows(split: str) -> Talks:
        order = Order(len(texts[split]), seed)
        return talks_of(lambda index: talk_of(texts[split][int(order.rows(index, 1)[0])], config), data, config, codec)

    found = {split: rows(split) for split in texts}
    check_cut(found["train"], texts["train"], data, say)
    return TalkRows(
        codec=codec,
        train=found["train"],
        valid=found["valid"],
        look=partial(telling, texts["valid"][:LOOKED]),
        identity={"data": dataset.hash, "tokenizer": codec.hash, "template": hash_of(template_of(codec).source)},
        facts={
            "data": {"folder": str(dataset.path), "hash": dataset.hash, **counts(dataset.manifest)},
            "tokenizer": {"hash": codec.hash, "vocab_size": codec.vocab_size},
            "pictures": {"size": config.vision.image_size, "tokens": config.places},
        },
    )


def talk_of(text: str, config: LlavaConfig) -> Talk:
    """A conversation out of a record's line, its pictures at the size of a tower."""
    messages, pictures = parted(json.loads(text)["messages"])
    prepare, mode = processor_of(config), MODES[config.vision.num_channels]
    squares = [prepare.squared(picture_of(part, "a conversation").convert(mode)) for part in pictures]
    return Talk(messages, [np.atleast_3d(np.asarray(each)).transpose(2, 0, 1) for each in squares])


def check_cut(rows: Talks, texts: Sequence[str], data: DataConfig, say: Say) -> None:
    """Refuse rows that lose more of what is to be learned than they may, and say what they lose.

    Raises:
        InputError: Says how much, and the length that would hold all.
    """
    whole = kept = longest = 0
    for text in texts:
        ids, mask = rows.encode(parted(json.loads(text)["messages"])[0])
        whole, longest = whole + sum(mask), max(longest, len(ids))
        kept += sum(mask[: rows.cut(ids)[0]])
    lost = 1 - kept / whole
    if lost > (CUT if data.cut is None else data.cut):
        what = f"{lost:.1%} of what is to be learned does not fit into rows of {data.length}"
        fix = f"set data.length={longest - 1}, or data.cut to the share that may be lost"
        raise InputError(what, where="data.length", value=f"the longest conversation has {longest} tokens", fix=fix)
    say(f"{whole:,} tokens to learn in {len(texts):,} conversations, of which {lost:.2%} are lost to the length")


def telling(texts: Sequence[str], run: Run) -> Watch:
    """A watch that has held-out conversations answered where they were first, and keeps the answers in `samples/`."""
    asked: list[tuple[list[Message], str]] = []
    for text in texts:
        messages = json.loads(text)["messages"]
        place = next(place for place, message in enumerate(messages) if message["role"] == "assistant")
        asked.append((messages[:place], words_in(messages[place])))

    def look(step: int, model: Model[Any]) -> Verdict:
        settings = parse(model.family.settings, GREEDY, "generation settings")
        said = Engine(model).generate([Request(messages, 0, settings) for messages, _ in asked])
        lines = [
            f"{words_in(messages[-1])}\n  {answer.data}\n  ({wanted})"
            for (messages, wanted), answer in zip(asked, said, strict=True)
        ]
        run.samples.mkdir(exist_ok=True)
        write_atomic(run.samples / f"step-{step:08d}.txt", "\n".join(lines) + "\n")
        right = sum(answer.data.strip() == wanted for (_, wanted), answer in zip(asked, said, strict=True))
        return Verdict({"right": right / len(asked)}, note=f"right answers: {right} of {len(asked)}")

    return look


def talks_of(talk: Callable[[int], Any], data: DataConfig, config: LlavaConfig, codec: Bpe) -> Talks:
    """Conversations as rows for a net."""

    def encode(messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        return sighted_ids(codec, messages, config.image_token_index, config.places)

    return Talks(
        talk,
        encode,
        processor_of(config).normalised,
        length=data.length,
        pad_id=codec.pad_id,
        image_token=config.image_token_index,
        places=config.places,
    )


def speaking(codec: Bpe, image_token: int) -> Bpe:
    """A tokenizer that writes pictures and knows what ends a turn.

    Raises:
        ModelError: It cannot.
    """
    shown = sighted(codec, image_token)
    return shown.speaking((end_of_turn(shown, template_of(shown)), *shown.ends))


def roomy(data: DataConfig, config: LlavaConfig) -> None:
    """Refuse rows in which a picture has no room.

    Raises:
        RecipeError: Says how many tokens it takes.
    """
    if config.places >= data.length:
        fix = f"set data.length well above {config.places}, the tokens of one picture"
        raise RecipeError("a row has no room for a picture and words", where="data.length", value=data.length, fix=fix)


def told(stream: int) -> Iterator[str]:
    """What is asked and answered about the first scenes of a stream, with the words that say who speaks."""
    for index in range(TOLD):
        yield "\n".join(
            f"user\n{question}\nassistant\n{answer}"
            for question, answer, _ in questions_of(scene_of(index, stream), index)
        )


def looking(looks: Mapping[Part, Scenes], run: Run) -> Watch:
    """A watch that asks about scenes, says how many answers are right, and keeps them in `samples/`."""

    def look(step: int, model: Model[Any]) -> Verdict:
        logs: dict[str, float] = {}
        lines: list[str] = []
        for part, scenes in looks.items():
            found = answered(model, scenes, LOOKED)
            logs |= {f"{part}/{kind}": share for kind, share in shares(found).items()}
            lines += [f"{part}: {a.question} {a.said}" + ("" if a.right else f" ({a.wanted})") for a in found]
        run.samples.mkdir(exist_ok=True)
        write_atomic(run.samples / f"step-{step:08d}.txt", "\n".join(lines) + "\n")
        note = ", ".join(f"{logs[f'{part}/all']:.0%} of {part}" for part in looks)
        return Verdict(logs, note=f"right answers: {note}")

    return look


def noise(rows: int, length: int, config: LlavaConfig, random: torch.Generator) -> Batch:
    """Random tokens behind one random picture in each row, in the shape of the real ones."""
    words = torch.randint(config.vocab_size - 1, (rows, length + 1 - config.places), generator=random)
    words += words >= config.image_token_index
    side, channels = config.vision.image_size, config.vision.num_channels
    places = torch.full((rows, config.places), config.image_token_index)
    images = torch.randn(rows, 1, channels, side, side, generator=random)
    return {"tokens": torch.cat((places, words), 1), "images": images}
