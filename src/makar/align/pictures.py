"""Fresh pairs of pictures: the net that trains makes some of each prompt, and rewards choose the best and the worst.

As with answers in words, pairs are a function of the weights, the seed and the step that they are made at; those in use
are kept in the checkpoint, so that a killed run goes on to the bit. The rewards see the pictures that people will see,
of 255 levels, and so does who learns from them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from makar.align.config import RolloutConfig
from makar.align.picture_rewards import PictureReward, earned, total
from makar.align.rollouts import in_turn
from makar.align.score import LOG
from makar.codecs.pixels import to_values
from makar.core.config import Config
from makar.core.errors import InputError
from makar.core.nouns import Batch, Model, Request
from makar.core.random import Rng, key_of
from makar.engine.run import Engine
from makar.families.diffusion.denoise import config_of
from makar.families.diffusion.objective import error, told_of
from makar.families.diffusion.path import draw
from makar.families.diffusion.words import literal
from makar.train.blocks import eager
from makar.train.distributed import World
from makar.train.metrics import append

Images = Float[Tensor, "rows channels high wide"]

TOGETHER = 64
"""Pictures that are made together, however much memory there is: rounding follows the shape of a batch."""


@dataclass(frozen=True)
class PicturePrompt:
    """What a picture is to show.

    Args:
        asked: As the sampler and the rewards take it: a class, a caption, or None for anything.
        told: As the model learns it: columns of a row, such as "label".
    """

    asked: Any = None
    told: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass(frozen=True)
class DrawnLevel:
    """Half the squared error of what a diffusion model says behind noise of one level, with a minus: a score.

    The level of each row is drawn as in training. Pairs and the reference are given the same randomness, so both sides
    of a pair and both models meet the same noise at the same level, and DPO over this score is Diffusion-DPO. Its T is
    in beta: where its authors' code halves 5000 and takes a mean over 16,384 values, beta is 0.3 here.

    Paper: arXiv 2311.12908, eq. 14, with the weight that the model was trained with.
    """

    kind: Literal["score"] = "score"

    def __call__(self, model: Model[Any], batch: Batch, rng: Rng) -> tuple[Float[Tensor, "rows 1"], Tensor]:
        """One value a row, and a mask that is true everywhere."""
        images, told = batch["images"], told_of(model, batch, 0.0, rng)
        noise = rng.normal("noise", *images.shape[1:])
        errors = error(model, images, noise, draw(config_of(model).path, rng), told)
        values = -images[0].numel() / 2 * errors[:, None]
        return values, torch.ones_like(values, dtype=torch.bool)


@dataclass
class PicturePairs:
    """A source of fresh pairs; implements `core.nouns.StatefulSource`.

    Args:
        model: The net that trains.
        prompts: What pictures are to show.
        rewards: What they earn.
        config: How many pictures a prompt, and how long they serve.
        settings: Of generation.
        seed: Of the order of prompts and of every picture.
        learned: From pictures to what the net learns of them: themselves, or a codec's latents.
        world: The processes that train together.
        journal: Where one line a rollout goes.
        number: Which rollout is in use; -1 for none yet.
        rows: What it holds.

    Raises:
        InputError: There are no prompts.
    """

    model: Model[Any]
    prompts: Sequence[PicturePrompt]
    rewards: Sequence[PictureReward]
    config: RolloutConfig
    settings: Config
    seed: int
    learned: Callable[[Images], Tensor] = lambda images: images
    world: World = World()
    journal: Path | None = None
    number: int = -1
    rows: Batch = field(default_factory=dict[str, Tensor])

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InputError("no prompts to make pictures of", fix="give a dataset of classes or captions")

    def batch(self, step: int, size: int) -> Batch:
        """The pairs of a step: of a fresh rollout, or of the one that is still in use.

        Raises:
            InputError: A reward failed, or nothing can be learned from them.
        """
        number, place = divmod(step, self.config.batches * self.config.epochs)
        if number != self.number:
            self.rows, self.number = self.roll(number, size * self.config.batches), number
        begin = place % self.config.batches * size
        return {name: t[begin : begin + size] for name, t in self.rows.items()}

    def state(self) -> dict[str, Tensor]:
        """The rollout in use."""
        return {"number": torch.tensor(self.number)} | {f"rows/{name}": t for name, t in self.rows.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with a checkpoint's rollout."""
        self.number = int(state["number"])
        self.rows = {name.removeprefix("rows/"): t.clone() for name, t in state.items() if name.startswith("rows/")}

    @torch.no_grad()
    def roll(self, number: int, count: int) -> Batch:
        """Make so many pairs, one of a prompt.

        Raises:
            InputError: A reward failed, or all pictures of every prompt earn the same.
        """
        asked = [self.prompts[place] for place in in_turn(len(self.prompts), number, count, self.seed)]
        mine, group, start = self.world.share(count), self.config.group, time.perf_counter()
        prompts = [asked[row].asked for row in mine for _ in range(group)]
        seeds = [key_of(self.seed, "pictures", number, row, k) >> 1 for row in mine for k in range(group)]
        images = made(self.model, prompts, seeds, self.settings)
        found = earned(self.rewards, images, prompts, mine.start * group)
        rows = self.written(images.unflatten(0, (-1, group)), found, asked, mine)
        self.world.sum(list(rows.values()))
        flat = rows[f"{LOG}flat_groups"]
        if self.journal is not None and self.world.rank == 0:
            line: dict[str, Any] = {"kind": "rollout", "step": number * self.config.batches * self.config.epochs}
            line |= {name.removeprefix(LOG): fmean(t.tolist()) for name, t in rows.items() if name.startswith(LOG)}
            append(self.journal, line | {"generation_seconds": time.perf_counter() - start})
        return instead_of_flat(rows, flat > 0)

    def written(
        self, images: Tensor, found: Mapping[str, Tensor], asked: Sequence[PicturePrompt], mine: range
    ) -> Batch:
        """This process's pairs as rows among all, zeros where the others' will be."""
        rewards = total(self.rewards, found).unflatten(0, (-1, self.config.group))
        each = torch.arange(len(mine))
        best, worst = (images[each, place] for place in (rewards.argmax(1), rewards.argmin(1)))
        flat = (rewards.amax(1) == rewards.amin(1)) | (best == worst).flatten(1).all(1)
        pairs = {"chosen_images": self.learned(best).cpu(), "rejected_images": self.learned(worst).cpu()}
        for name in asked[0].told:
            column = torch.stack([asked[row].told[name] for row in mine])
            pairs |= {f"chosen_{name}": column, f"rejected_{name}": column}
        logs = {"reward": rewards.mean(1), "best_reward": rewards.amax(1), "flat_groups": flat.float()}
        logs |= {f"reward/{name}": t.unflatten(0, (-1, self.config.group)).mean(1) for name, t in found.items()}
        pairs |= {f"{LOG}{name}": column for name, column in logs.items()}
        rows = {name: column.new_zeros(len(asked), *column.shape[1:]) for name, column in pairs.items()}
        for name, column in pairs.items():
            rows[name][mine.start : mine.stop] = column
        return rows


def made(model: Model[Any], prompts: Sequence[Any], seeds: Sequence[int], settings: Config) -> Images:
    """Pictures in -1 to 1, of 255 levels; prompts are captions, whose brackets weigh nothing."""
    found: list[Tensor] = []
    said = [literal(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
    asked = list(zip(said, seeds, strict=True))
    with eager():
        for start in range(0, len(asked), TOGETHER):
            requests = [Request(prompt, seed, settings) for prompt, seed in asked[start : start + TOGETHER]]
            pictures = [answer.data for answer in Engine(model).generate(requests)]
            found += [to_values(picture, len(picture.getbands())) for picture in pictures]
    return torch.stack(found)


def instead_of_flat(rows: Batch, flat: Tensor) -> Batch:
    """Rows whose two pictures earned differently, as many: they stand again in place of those that teach nothing.

    Raises:
        InputError: There are none.
    """
    good = (~flat).nonzero().squeeze(1)
    if not len(good):
        fix = "reward something that pictures differ in, or raise rollouts.group"
        raise InputError("all pictures of each prompt earn the same, or are one picture", where="reward", fix=fix)
    place = torch.where(flat, good[torch.arange(len(flat)) % len(good)], torch.arange(len(flat)))
    return {name: t if name.startswith(LOG) else t[place] for name, t in rows.items()}
