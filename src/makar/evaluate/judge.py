"""A judge of pictures of scenes: which attributes a picture shows, and whether it is a scene at all.

It is trained on scenes of its own, of seen and of held-out combinations alike, so that it has no reason to find what it
knows. What it passes that it should not is measured beside how often it is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from makar.core.config import Config
from makar.core.nouns import Batch, Loss, Model, Source
from makar.core.random import Rng, key_of, numpy_rng
from makar.core.say import Say
from makar.data.packages import cache
from makar.data.scene_drawing import Sprites, draw
from makar.data.scene_faults import FAULTS, looks
from makar.data.scene_things import ACCESSORIES, COLOURS, COUNTS, PLACES, POSITIONS, SUBJECTS, Scene
from makar.data.scenes import Part, scene_of
from makar.data.table import TensorSource
from makar.evaluate.features import values_of
from makar.evaluate.kept import kept, measuring
from makar.nets.judge import SIDE, PictureJudge

ANSWERS: Mapping[str, tuple[str | int | None, ...]] = {
    "subject": tuple(SUBJECTS),
    "accessory": (None, *ACCESSORIES),
    "place": tuple(PLACES),
    "colour": tuple(COLOURS),
    "count": tuple(COUNTS),
    "position": tuple(POSITIONS),
}
"""What the judge can answer of each attribute."""

MALFORMED = "malformed"

STEPS, BATCH = 1000, 96

SPOILT = 0.3
"""Share of malformed pictures among those that it learns from."""

PARTS: tuple[Part, ...] = ("seen", "seen", "triple", "pair")
"""Combinations that it learns from, in turn."""

GRAIN, SOFT = 10.0, 0.2
"""Well-formed pictures may have noise of so many levels, and be so soft: a model's pictures are never quite clean."""

UNKNOWN = -1
"""In place of an answer: nothing is to be said, or nothing was asked."""


class JudgeConfig(Config):
    """What is judged.

    Args:
        heads: How many answers each question has.
    """

    heads: dict[str, int] = {**{name: len(answers) for name, answers in ANSWERS.items()}, MALFORMED: 2}


def wanted_of(told: Scene) -> dict[str, int]:
    """What a request asks for, by attribute; `UNKNOWN` for what it leaves unsaid.

    Args:
        told: The scene as it was told: without what was not said.
    """
    values = {name: getattr(told, name) for name in ANSWERS}
    return {name: ANSWERS[name].index(value) if value else UNKNOWN for name, value in values.items()}


def answers_to(scene: Scene) -> dict[str, int]:
    """What is right to say of a scene, by attribute; `UNKNOWN` where a question has no answer."""
    return {**wanted_of(scene), "accessory": ANSWERS["accessory"].index(scene.accessory)}


@final
class JudgeRows:
    """Scenes with what is right to say of them, some malformed; pure in the step.

    Args:
        sprites: The emoji.
        size: Side in pixels.
        seed: Of the stream.
    """

    def __init__(self, sprites: Sprites, size: int, seed: int) -> None:
        self.sprites, self.size, self.seed = sprites, size, seed

    def row(self, place: int) -> tuple[UInt8[np.ndarray, "3 size size"], dict[str, int]]:
        """One picture and its answers."""
        rng = numpy_rng(self.seed, "judge", place)
        scene, look = scene_of(place, self.seed, PARTS[place % len(PARTS)]), key_of(self.seed, "judged", place)
        if rng.random() < SPOILT:
            kind = list(FAULTS)[int(rng.integers(len(FAULTS)))]
            picture = FAULTS[kind](scene, look, looks(self.sprites, self.size), rng)
            return picture, {**dict.fromkeys(ANSWERS, UNKNOWN), MALFORMED: 1}
        return worn(draw(scene, look, self.sprites, self.size), rng), {**answers_to(scene), MALFORMED: 0}

    def batch(self, step: int, size: int) -> Batch:
        """Rows `step * size` to `step * size + size`.

        Returns:
            `images` [size, 3, side, side] float32 in -1..1, and an int64 column for each question.
        """
        rows = [self.row(place) for place in range(step * size, step * size + size)]
        images = values_of(torch.from_numpy(np.stack([picture for picture, _ in rows])))
        questions = (*ANSWERS, MALFORMED)
        return {"images": images} | {name: torch.tensor([right[name] for _, right in rows]) for name in questions}


def worn(picture: UInt8[np.ndarray, "3 size size"], rng: np.random.Generator) -> UInt8[np.ndarray, "3 size size"]:
    """A picture a little softer and noisier, as a model's would be."""
    soft, grain = SOFT * rng.random(), GRAIN * rng.random()
    wide = np.pad(picture.astype(np.float32), ((0, 0), (1, 1), (1, 1)), "edge")
    beside = wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:]
    mean = (picture + soft * beside) / (1 + 4 * soft)
    return np.clip(np.round(mean + grain * rng.standard_normal(picture.shape, np.float32)), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class JudgeLoss:
    """Cross-entropy of every answer that there is to a question, summed over questions."""

    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[PictureJudge], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """The batch as it is."""
        return batch

    def __call__(self, model: Model[PictureJudge], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Nats over rows."""
        said = model.net(micro["images"])
        losses = [
            F.cross_entropy(logits.float(), micro[name], ignore_index=UNKNOWN, reduction="sum")
            for name, logits in said.items()
        ]
        return Loss(torch.stack(losses).sum(), torch.tensor(float(len(micro["images"]))))


def build(config: JudgeConfig) -> PictureJudge:
    """A fresh net."""
    return PictureJudge(config.heads)


def tiny() -> tuple[Config, Source]:
    """Dark pictures and bright ones."""
    right = torch.arange(8) % 2
    images = (right.float() * 2 - 1)[:, None, None, None].expand(8, 3, SIDE, SIDE).contiguous()
    config = JudgeConfig(heads={MALFORMED: 2})
    return config, TensorSource({"images": images, MALFORMED: right}, seed=0)


def shape(config: JudgeConfig) -> tuple[int, int, int]:  # noqa: ARG001
    """Of a picture."""
    return 3, SIDE, SIDE


JUDGE = measuring("judge", JudgeConfig, build, shape=shape, learns=JudgeLoss, tiny=tiny)


def judge_of(sprites: Sprites, say: Say, *, steps: int = STEPS, seed: int = 0) -> Model[PictureJudge]:
    """The judge of scenes of an emoji set, trained at the first call; a killed training goes on.

    Args:
        sprites: The emoji.
        say: Told when it takes time.
        steps: Of its training.
        seed: Another one for a second opinion: of other scenes, and of no weight that the first had.

    Raises:
        UserError: There is no space, or the cache cannot be written.
    """
    knows = {"emoji": sprites.hash, "rows": [SPOILT, GRAIN, SOFT, VERSION]} | ({"seed": seed} if seed else {})
    return kept(
        JUDGE, JudgeConfig(), JudgeRows(sprites, SIDE, JUDGE_SEED + seed), "a judge of scenes",
        beside=cache() / "judges" / "scenes", knows=knows, steps=steps, batch_size=BATCH, say=say, seed=seed,
    )  # fmt: skip


VERSION = 1
"""Of how scenes are drawn and spoilt: another one asks for another judge."""

JUDGE_SEED = key_of("judge")
"""Of the scenes that it learns from: those of no recipe."""


EVEN = 0.5
"""A picture is taken for a scene where that is the likelier."""


@dataclass(frozen=True)
class Verdicts:
    """What the judge says of some pictures.

    Args:
        said: The answer to each question, by attribute.
        malformed: How sure it is that a picture is none of a scene, 0 to 1.
    """

    said: Mapping[str, Int[Tensor, " rows"]]
    malformed: Float[Tensor, " rows"]

    @property
    def well_formed(self) -> Bool[Tensor, " rows"]:
        """Which pictures are scenes."""
        return self.malformed < EVEN

    def right(self, wanted: Sequence[Mapping[str, int]]) -> dict[str, Bool[Tensor, " rows"]]:
        """Where each attribute is as wanted; what was not asked is right.

        Args:
            wanted: Of each picture, as `wanted_of` gives it.
        """
        columns = {name: torch.tensor([each[name] for each in wanted]) for name in ANSWERS}
        return {name: (self.said[name] == column) | (column == UNKNOWN) for name, column in columns.items()}

    def passed(self, wanted: Sequence[Mapping[str, int]]) -> Bool[Tensor, " rows"]:
        """Where everything that was asked is right, in a picture that is well-formed."""
        return torch.stack(list(self.right(wanted).values())).all(0) & self.well_formed


def agreement(logits: Mapping[str, Tensor], wanted: Sequence[Mapping[str, int]]) -> Float[Tensor, " rows"]:
    """How sure a judge is of all that was asked, in a picture that is well-formed: nats a question, 0 for certain.

    Args:
        logits: What it says of the pictures, with a gradient if it has one.
        wanted: Of each picture, as `wanted_of` gives it.
    """
    sure = [logits[MALFORMED].float().log_softmax(1)[:, 0]]
    asked = [torch.ones_like(sure[0])]
    for name in ANSWERS:
        column = torch.tensor([each[name] for each in wanted], device=sure[0].device)
        said = logits[name].float().log_softmax(1).gather(1, column.clamp(min=0)[:, None]).squeeze(1)
        sure.append(said.where(column != UNKNOWN, 0.0))
        asked.append((column != UNKNOWN).float())
    return torch.stack(sure).sum(0) / torch.stack(asked).sum(0)


@torch.inference_mode()
def judged(judge: Model[PictureJudge], pictures: UInt8[Tensor, "rows 3 high wide"]) -> Verdicts:
    """What a judge says of pictures."""
    parts = [judge.net(values_of(some)) for some in pictures.split(BATCH)]
    logits = {name: torch.cat([part[name] for part in parts]).float() for name in parts[0]}
    said = {name: each.argmax(1) for name, each in logits.items() if name != MALFORMED}
    return Verdicts(said, logits[MALFORMED].softmax(1)[:, 1])
