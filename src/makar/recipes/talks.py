"""Conversations about pictures as rows: about scenes composed of the emoji of a recipe's sources, without end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from makar.codecs.bpe import Bpe, train_bpe
from makar.codecs.chat import end_of_turn, template_of
from makar.codecs.sight import sighted, sighted_ids
from makar.core.errors import RecipeError
from makar.core.files import write_atomic
from makar.core.messages import Message
from makar.core.nouns import Batch, Model, Objective, Source, Verdict, Watch
from makar.data.scene_words import questions_of
from makar.data.scenes import Part, Scenes, scene_of, scene_seed
from makar.data.talks import Talks, scene_talk
from makar.evaluate.sights import answered, shares
from makar.families.llava.config import LlavaConfig
from makar.families.llava.folder import processor_of
from makar.recipes.alignment import Made
from makar.recipes.captioned import described, emoji_of
from makar.recipes.manifest import hash_of
from makar.recipes.recipe import DataConfig, Recipe
from makar.recipes.run import Run
from makar.recipes.text import Say
from makar.recipes.watches import validation
from makar.train.session import Periodic

TALKS = ("scene-talks",)
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
        looks: Streams of scenes to ask about, by what is new in them.
        identity: Hashes by which a checkpoint knows its data.
        facts: For the manifest.
    """

    codec: Bpe
    train: Source
    valid: Source
    looks: Mapping[Part, Scenes]
    identity: Mapping[str, str]
    facts: Mapping[str, Any]


def talked(
    recipe: Recipe, model: Model[Any], codec: Bpe | None, objective: Objective[Any], run: Run, *, every: int, say: Say
) -> Made:
    """Rows of conversations about pictures for a family that sees, and its looks at itself.

    Args:
        recipe: One stage.
        model: Before its training.
        codec: Its tokenizer; None trains one on what is asked and answered.
        objective: The loss.
        run: Where its samples go.
        every: Steps between looks.
        say: For a line on each thing that takes time.

    Raises:
        UserError: The family sees nothing, or the source cannot be used.
    """
    config = model.config
    if not isinstance(config, LlavaConfig):
        what = f"the family {model.family.name!r} sees no pictures"
        raise RecipeError(what, where="data.rows", value=recipe.data.rows, fix="set model.family='llava'")
    rows = scene_talks(recipe.data, config, codec, seed=recipe.seed, say=say)
    parts = {**model.parts, "codec": rows.codec}
    model = Model(model.family, config, model.net, parts, {**model.generation, **recipe.sample})
    judge = validation(objective, rows.valid, rows=recipe.watch.validate_rows, seed=recipe.seed, run=run)
    watches = [Periodic("validation", judge, every), Periodic("sights", looking(rows.looks, run), every)]
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
        looks={part: stream("looks", part) for part in WATCHED},
        identity={"data": sprites.hash, "tokenizer": codec.hash, "template": hash_of(template_of(codec).source)},
        facts={
            "data": described(fetched, sprites),
            "tokenizer": {"hash": codec.hash, "vocab_size": codec.vocab_size},
            "pictures": {"size": config.vision.image_size, "tokens": config.places},
        },
    )


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
