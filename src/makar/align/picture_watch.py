"""Held-out checks of rewarded pictures: a reward that rises while pictures leave what real ones look like is a trick.

The model makes pictures of held-out prompts, always of the same noise. Their rewards are set beside their Fréchet
distance from real pictures that nobody trained on, and both beside those of the model that training began with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from makar.align.config import RolloutConfig
from makar.align.picture_rewards import PictureReward, earned, total
from makar.align.pictures import TOGETHER, Images, made
from makar.align.reference import Reference, reference_of
from makar.core.config import Config
from makar.core.nouns import Model, Verdict, Watch
from makar.core.random import key_of
from makar.measure.frechet import frechet_distance

See = Callable[[Images], Float[Tensor, "rows dims"]]
"""From pictures in -1 to 1 to features."""


@dataclass(frozen=True)
class PictureLook:
    """What held-out pictures are like.

    Args:
        rewards: Mean of each reward, before weights.
        reward: Mean of the weighted sum.
        distance: Fréchet distance from real pictures.
    """

    rewards: Mapping[str, float]
    reward: float
    distance: float


@dataclass(frozen=True)
class HeldOut:
    """What a look compares.

    Args:
        prompts: Of the pictures to make, one each.
        real: Pictures to compare them with.
        see: What turns both into features.
        settings: Of generation.
        seed: Of the pictures.
    """

    prompts: Sequence[Any]
    real: Images
    see: See
    settings: Config
    seed: int


@torch.no_grad()
def look_at_pictures(model: Model[Any], held: HeldOut, rewards: Sequence[PictureReward]) -> PictureLook:
    """Let a model make held-out pictures, and measure them.

    Raises:
        UserError: A reward failed, or a prompt does not fit the model.
    """
    seeds = [key_of(held.seed, "held out", place) >> 1 for place in range(len(held.prompts))]
    images = made(model, held.prompts, seeds, held.settings)
    found = earned(rewards, images, held.prompts)
    seen, real = (torch.cat([held.see(some) for some in each.split(TOGETHER)]) for each in (images, held.real))
    return PictureLook(
        rewards={name: float(values.mean()) for name, values in found.items()},
        reward=float(total(rewards, found).mean()),
        distance=frechet_distance(seen, real),
    )


def straying(held: HeldOut, rewards: Sequence[PictureReward], reference: Reference, config: RolloutConfig) -> Watch:
    """A watch that judges by the reward, and stops a run whose pictures leave the real ones.

    Args:
        held: What is compared.
        rewards: What is trained for.
        reference: The model that training began with.
        config: How much farther pictures may be.
    """
    before: list[PictureLook] = []

    def look(step: int, model: Model[Any]) -> Verdict:  # noqa: ARG001
        if not before:  # the same in every process, so it needs no place in the checkpoint
            with reference_of(model, reference) as untrained:
                before.append(look_at_pictures(untrained, held, rewards))
        first, now = before[0], look_at_pictures(model, held, rewards)
        logs = {
            "reward": now.reward,
            **{f"reward/{name}": value for name, value in now.rewards.items()},
            "reward_before": first.reward,
            "distance": now.distance,
            "distance_before": first.distance,
        }
        note = f"reward {now.reward:.3f} ({first.reward:.3f} at first), Fréchet distance {now.distance:.3g}"
        note += f" ({first.distance:.3g})"
        if now.distance > first.distance * (1 + config.max_distance_rise):
            fix = "the best before it is kept; lower the learning rate, or raise beta or pull"
            return Verdict(logs, action="stop", note=f"{note}: pictures leave the real ones; {fix}")
        if now.reward <= first.reward:
            note += ": no better than at first"
        return Verdict(logs, score=-now.reward, note=note)

    return look
