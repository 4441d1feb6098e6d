"""Learn from a reward that has a gradient: through the generator, the decoder, or the last steps of a sampler.

A batch holds `prompt` [rows], the number of each row's prompt, and the columns that the model is told of it. Pictures
are made anew at each step, of fresh noise. What holds the model near its beginning is how far its pictures are from
those that the reference makes of the same noise.

Papers: DRaFT, arXiv 2309.17400, eq. 3 and algorithm 1, and arXiv 2304.05977, whose reward is climbed likewise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from makar.align.config import NotNegative
from makar.align.picture_rewards import PictureReward, judged, total
from makar.align.pictures import PicturePrompt
from makar.align.reference import Reference, reference_of
from makar.core.config import Config, parse
from makar.core.errors import ModelError, RecipeError
from makar.core.nouns import Batch, Loss, Model
from makar.core.random import Rng
from makar.families.diffusion.caption import empty, reads
from makar.families.diffusion.denoise import Denoise, Guidance, Told, config_of, guided, within_range
from makar.families.diffusion.objective import told_of
from makar.families.diffusion.path import visited
from makar.families.diffusion.samplers import SAMPLERS, Trail, advance, begin
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.diffusion.wish import codec_of
from makar.families.gan.objective import labels_of
from makar.families.vae.likelihood import middle
from makar.families.vae.net import config_of as vae_config

Images = Float[Tensor, "rows channels high wide"]

Ask = Callable[[Callable[[Model[Any]], Tensor]], Tensor]
"""From what a model is asked to what the reference answers, without gradient."""


@dataclass(frozen=True)
class Way:
    """How pictures are made.

    Args:
        settings: Of generation, of the family.
        last_steps: Of a sampler, that have a gradient: DRaFT-K's K.
    """

    settings: Config
    last_steps: int = 1


Make = Callable[[Model[Any], Ask, Batch, Rng, Way], tuple[Images, Tensor]]
"""From a model, who asks the reference, rows and their noise: pictures, and each one's mean squared distance from what
the reference says."""


def of_generator(
    model: Model[Any], ask: Ask, rows: Batch, rng: Rng, way: Way  # noqa: ARG001
) -> tuple[Images, Tensor]:  # fmt: skip
    """A GAN's pictures."""
    latent, labels = rng.normal("latent", model.net.generator.latent_size), labels_of(model, rows)

    def drawn(of: Model[Any]) -> Images:
        return of.net.generator(latent, labels)

    images = drawn(model)
    return images.clamp(-1, 1), apart(images, ask(drawn))


def of_decoder(
    model: Model[Any], ask: Ask, rows: Batch, rng: Rng, way: Way  # noqa: ARG001
) -> tuple[Images, Tensor]:  # fmt: skip
    """The means that a variational autoencoder says of codes."""
    noise, pick = rng.normal("code", model.net.code_size), rng.uniform("component")

    def drawn(of: Model[Any]) -> Images:
        return middle(vae_config(of), of.net.decode(of.net.draw(noise, pick)))

    images = drawn(model)
    return images, apart(images, ask(drawn))


def of_denoiser(model: Model[Any], ask: Ask, rows: Batch, rng: Rng, way: Way) -> tuple[Images, Tensor]:
    """What a diffusion model makes by its own sampler, the last steps with a gradient.

    Held to the reference is what the denoiser says at those steps, at the same noisy pictures.
    """
    settings = way.settings
    assert isinstance(settings, DiffusionSettings)
    net, told = config_of(model).net, told_of(model, rows, 0.0, rng)
    levels = visited(config_of(model).path, settings.sampler, settings.steps, settings.spacing).to(model.device)
    noise = rng.normal("picture", net.in_channels, net.sample_size, net.sample_size)
    trail = begin(levels[0] * noise, levels.expand(len(noise), -1))
    gaps: list[Tensor] = []

    def watched(x: Tensor, sigma: Tensor) -> Tensor:
        found = denoiser(model, told, settings)(x, sigma)
        gaps.append(apart(found, ask(lambda of: denoiser(of, told, settings)(x.detach(), sigma))))
        return found

    step = SAMPLERS[settings.sampler]
    for number in range(settings.steps):
        fresh = partial(rng.normal, f"step {number}", *noise.shape[1:])
        climbing = number >= settings.steps - way.last_steps
        with torch.set_grad_enabled(climbing and torch.is_grad_enabled()):
            denoise = watched if climbing else denoiser(model, told, settings)
            trail, _ = advance(step, trail, denoise, fresh)
    return shown(model, trail), torch.stack(gaps).mean(0)


def denoiser(model: Model[Any], told: Told, settings: DiffusionSettings) -> Denoise:
    """The denoiser as the sampler asks it: guided, and within the range of pictures."""
    guidance = None
    if settings.guidance_scale != 1 and told is not None:
        low, high = settings.guidance_interval
        values = (settings.guidance_scale, low, high, settings.guidance_rescale)
        count = len(told[0]) if isinstance(told, tuple) else len(told)
        guidance = Guidance(*(torch.full((count,), float(value), device=model.device) for value in values))
    instead = None
    if guidance is not None and reads(model):
        nothing = empty(model)
        instead = type(nothing)(*(part.expand(len(guidance.scale), *part.shape[1:]) for part in nothing))
    found = guided(model, told, guidance, instead)
    return found if codec_of(model) is not None else within_range(found)


def shown(model: Model[Any], trail: Trail) -> Images:
    """The pictures at the end of a trail.

    Raises:
        ModelError: The codec's pictures have no gradient.
    """
    if codec_of(model) is not None:
        fix = "align a model of pixels, or learn from the reward with 'dpo'"
        raise ModelError("no gradient goes through a codec", where="objective.name", fix=fix)
    return trail.x


MAKERS: Mapping[str, Make] = {"diffusion": of_denoiser, "gan": of_generator, "vae": of_decoder}
"""How each family's pictures are made with a gradient, by its name."""


@dataclass(frozen=True)
class Direct:
    """The reward of pictures made anew, less how far they went from the reference's.

    Args:
        reference: What the pull is towards; None for the net with its adapters off.
        rewards: What is climbed.
        prompts: What the numbers in the rows mean.
        way: How pictures are made.
        pull: Weight of the mean squared distance.
        players: Who learns.
    """

    reference: Reference
    rewards: Sequence[PictureReward]
    prompts: Sequence[PicturePrompt]
    way: Way
    pull: float = 1.0
    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[Any], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """The batch as it is."""
        return batch

    def __call__(self, model: Model[Any], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Summed over rows.

        Raises:
            UserError: A reward failed, or has no gradient.
        """

        def ask(question: Callable[[Model[Any]], Tensor]) -> Tensor:
            with torch.no_grad(), reference_of(model, self.reference) as frozen:
                return question(frozen)

        images, gap = MAKERS[model.family.name](model, ask, micro, rng, self.way)
        asked = [self.prompts[number].asked for number in micro["prompt"].tolist()]
        found = {reward.name: climbed(reward, images, asked) for reward in self.rewards}
        reward = total(self.rewards, found)
        logs = {"reward": reward.detach().sum(), "pull": gap.detach().sum()}
        logs |= {f"reward/{name}": values.detach().sum() for name, values in found.items()}
        return Loss((self.pull * gap - reward).sum(), torch.tensor(float(len(images))), logs)


def climbed(reward: PictureReward, images: Images, prompts: Sequence[Any]) -> Tensor:
    """A reward's numbers, with their gradient.

    Raises:
        RecipeError: They have none.
    """
    found = judged(reward, images, prompts)
    if images.requires_grad and not found.requires_grad:
        fix = "compute it with torch from the images, or learn from it with 'dpo'"
        raise RecipeError("the reward has no gradient", where=f"reward {reward.where or reward.name}", fix=fix)
    return found


def apart(one: Tensor, other: Tensor) -> Float[Tensor, " rows"]:
    """The mean squared distance of rows."""
    return (one - other).square().flatten(1).mean(1)


def direct(
    reference: Reference,
    *,
    model: Model[Any],
    rewards: Sequence[PictureReward],
    prompts: Sequence[PicturePrompt],
    pull: NotNegative = 1.0,
    last_steps: int = 1,
) -> Direct:
    """Direct reward as an objective, checked against the model.

    Args:
        reference: What the pull is towards.
        model: What learns; its own defaults of generation say how pictures are made.
        rewards: What is climbed.
        prompts: What the numbers in the rows mean.
        pull: Weight of the mean squared distance from the reference's pictures.
        last_steps: Of a sampler, that have a gradient.

    Raises:
        RecipeError: There are no so many steps.
        ModelError: Pictures of this family have no gradient.
    """
    name = model.family.name
    if name not in MAKERS:
        fix = f"align one of: {', '.join(MAKERS)}; or learn from the reward with 'dpo'"
        raise ModelError("pictures of this family have no gradient", where="objective.name", value=name, fix=fix)
    settings = parse(model.family.settings, dict(model.generation), "[sample]")
    most = settings.steps if isinstance(settings, DiffusionSettings) else 1
    if not 1 <= last_steps <= most:
        where, fix = "objective.options.last_steps", f"give 1 to {most}"
        raise RecipeError("the sampler has no so many steps", where=where, value=last_steps, fix=fix)
    players = ("generator",) if name == "gan" else ("",)
    return Direct(reference, rewards, prompts, Way(settings, last_steps), pull, players)
