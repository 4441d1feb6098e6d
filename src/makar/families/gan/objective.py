"""The game of R3GAN: a relativistic loss, and a penalty on the critic's gradient at real and at made pictures."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.core.config import nearest
from makar.core.errors import InputError, RecipeError
from makar.core.nouns import Batch, Loss, Model
from makar.core.random import Rng
from makar.families.gan.augment import augment
from makar.families.gan.build import Gan, config_of
from makar.nets.twice import frozen, of_inputs_only

Images = Float[Tensor, "rows channels high wide"]
Labels = Int[Tensor, " rows"]

AUGMENTS = ("none", "scheduled", "adaptive")

LOOK_EVERY = 8
"""Steps between two measurements that steer an adaptive augmentation."""

LOOK_ROWS = 64
"""Rows of a measurement."""

TARGET = 0.6
"""Mean sign of the critic's margin above which it is held to know the pictures by heart. Paper: arXiv 2006.06676."""

ROWS_TO_FULL = 100_000
"""Rows in which an adaptive augmentation may go from none to all."""


@dataclass(frozen=True)
class Relativistic:
    """The critic widens the margin of a real picture over a made one, the generator narrows it.

    Paper: arXiv 2501.05441, eq. 2 with f(t) = -log(1 + exp(-t)), and R1 and R2 of eq. 3 and 4.

    Args:
        players: Who takes turns.
        gamma: Weight of the penalties at the end; 0 for what suits the pictures' size and the batch.
        anneal_steps: Steps in which gamma falls from ten times that, and scheduled augmentation comes in.
        augment: Whether the critic's pictures are changed at random: "none", "scheduled", or "adaptive", as far as the
            critic learns the pictures by heart.
        augment_most: The largest probability of each change.
        mixing: Share of the rows whose finer layers follow another latent, in nets that have styles.

    Raises:
        RecipeError: An unknown augmentation, or a number out of its range.
    """

    players: tuple[str, ...] = ("critic", "generator")
    gamma: float = 0.0
    anneal_steps: int = 1000
    augment: str = "none"
    augment_most: float = 0.3
    mixing: float = 0.5

    def __post_init__(self) -> None:
        if self.augment not in AUGMENTS:
            place, fix = "objective.options.augment", nearest(str(self.augment), AUGMENTS)
            raise RecipeError("unknown augmentation", where=place, value=self.augment, fix=fix)
        for name, good in (
            ("gamma", self.gamma >= 0),
            ("anneal_steps", self.anneal_steps >= 1),
            ("augment_most", 0 <= self.augment_most <= 1),
            ("mixing", 0 <= self.mixing <= 1),
        ):
            if not good:
                place, fix = f"objective.options.{name}", "give a share in 0 to 1, or a positive number"
                raise RecipeError("out of its range", where=place, value=getattr(self, name), fix=fix)

    @torch.no_grad()
    def prepare(self, model: Model[Gan], batch: Batch, rng: Rng) -> Batch:
        """The batch with its step's weight of the penalties and share of augmentation, one for each row.

        Raises:
            InputError: It has no labels and the net knows classes, or a label is missing.
        """
        config, rows = config_of(model), len(batch["images"])
        if config.net.num_classes:
            if "label" not in batch:
                fix = "set model.net.num_classes to 0"
                raise InputError("the rows have no labels, and the net knows classes", fix=fix)
            if bool((batch["label"] < 0).any()):
                fix = "label every picture, or set model.net.num_classes to 0"
                raise InputError("a picture without a label, and the net needs one", fix=fix)
        done = min(1.0, rng.step / self.anneal_steps)
        gamma = annealed(self.gamma or gamma_of(config.net.sample_size, rows), done)
        share = torch.full((rows,), self.augment_most * (1 - math.cos(math.pi * done)) / 2)
        if self.augment == "adaptive":
            if model.net.training and rng.step % LOOK_EVERY == 0:
                self.adapt(model, batch, rng)
            share = model.net.augment_share.expand(rows)
        elif self.augment == "none":
            share = torch.zeros(rows)
        device = batch["images"].device
        return batch | {"gamma": torch.full((rows,), gamma, device=device), "augment": share.to(device)}

    def adapt(self, model: Model[Gan], batch: Batch, rng: Rng) -> None:
        """Change pictures more where the critic tells real from made too surely, and less where not."""
        net, rows = model.net, len(batch["images"])
        few = slice(0, min(rows, LOOK_ROWS))
        some, rng = {name: batch[name][few] for name in batch}, rng.at(rng.rows[few])
        some["augment"] = net.augment_share.expand(len(rng.rows))
        real, fake = self.pair(model, some, rng)
        labels = some.get("label")
        signs = (net.critic(real, labels) - net.critic(fake, labels)).sign().float().mean()
        step = LOOK_EVERY * rows / ROWS_TO_FULL * (signs - TARGET).sign()
        net.augment_share.add_(step).clamp_(0, self.augment_most)

    def pair(self, model: Model[Gan], micro: Batch, rng: Rng) -> tuple[Images, Images]:
        """Real and made pictures, as the critic is shown them."""
        real, made = micro["images"], self.made(model, micro, rng)
        share = micro["augment"]
        return augment(real, share, rng.within("real")), augment(made, share, rng.within("made"))

    def made(self, model: Model[Gan], micro: Batch, rng: Rng) -> Images:
        """Pictures of fresh latents, of the same classes as the real ones."""
        generator, labels = model.net.generator, labels_of(model, micro)
        code = generator.code(rng.normal("latent", generator.latent_size), labels)
        if generator.layers > 1 and self.mixing:
            other = generator.code(rng.normal("other latent", generator.latent_size), labels)
            first = 1 + rng.integers("from layer", generator.layers - 1, 1)
            mixed = rng.uniform("mixed", 1) < self.mixing
            fine = mixed & (torch.arange(generator.layers, device=first.device) >= first)
            code = torch.where(fine[:, :, None], other, code)
        return generator.draw(code)

    def __call__(self, model: Model[Gan], micro: Batch, player: str, rng: Rng) -> Loss:
        """Summed over rows."""
        critic, labels, rows = model.net.critic, labels_of(model, micro), len(micro["images"])
        if player == "generator":
            real, fake = self.pair(model, micro, rng)
            with torch.no_grad():
                wanted = critic(real, labels)
            with frozen(critic):
                margin = (wanted - critic(fake, labels)).float()
            return Loss(F.softplus(margin).sum(), torch.tensor(float(rows)), {"margin": margin.sum()})
        with torch.no_grad():
            real, fake = self.pair(model, micro, rng)
        with torch.enable_grad():  # the penalties need it in validation too
            both = None if labels is None else labels.repeat(2)
            scores, penalties = penalised(critic, torch.cat((real, fake)), both)
            margin, (r1, r2) = scores[:rows] - scores[rows:], penalties.split(rows)
            losses = F.softplus(-margin) + micro["gamma"] / 2 * (r1 + r2)
        logs = {"margin": margin.sum(), "r1": r1.sum(), "r2": r2.sum(), "augment": micro["augment"].sum()}
        return Loss(losses.sum(), torch.tensor(float(rows)), logs)


def labels_of(model: Model[Gan], micro: Batch) -> Labels | None:
    """The labels that the nets are told."""
    return micro["label"] if config_of(model).net.num_classes else None


def penalised(
    critic: nn.Module, images: Images, labels: Labels | None
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Scores, and the squared norm of the critic's gradient at each picture.

    One forward pass and one gradient serve real and made pictures together: rows know nothing of each other.

    Args:
        critic: From pictures and labels to a score each.
        images: Where to ask it.
        labels: Of the pictures.
    """
    images = images.detach().requires_grad_()
    scores = critic(images, labels).float()
    with of_inputs_only():
        (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return scores, gradient.float().square().sum((1, 2, 3))


def gamma_of(side: int, batch: int) -> float:
    """Weight of the penalties for pictures of a size, in batches of a size.

    It falls with the batch as StyleGAN2's does (arXiv 2006.06676, appendix C), and grows with the side so that R3GAN's
    own choices are met within a factor of three: 0.005 for 32 pixels and 512 rows, and far more for 256.

    Args:
        side: Of a picture, in pixels.
        batch: Rows.
    """
    return 0.025 * (side / 32) ** 3 * 256 / batch


def annealed(last: float, done: float) -> float:
    """From ten times the last value down to it along half a cosine, as done goes from 0 to 1."""
    return last * (1 + 9 * (1 + math.cos(math.pi * done)) / 2)
